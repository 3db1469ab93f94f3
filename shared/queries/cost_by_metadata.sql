-- What did each project, feature or environment (x-metrion-meta-…) cost?
-- One row an account, metadata key and value. With a `key`, its rows add up to all requests: those without it have the value ''.
-- With '' each key is listed, and a request counts under each of its own. `cost_usd` is the sum of what is known, NULL when
-- nothing is; `unpriced` counts the requests it lacks, `estimated_usd` is the part of it that rests on estimated usage.
SELECT
    account,
    key,
    metadata[key] AS value,
    count() AS requests,
    sum(r.input_tokens) AS input_tokens,
    sum(r.output_tokens) AS output_tokens,
    sum(cost) AS cost_usd,
    sumIf(ifNull(cost, 0), is_estimated) AS estimated_usd,
    countIf(cost IS NULL) AS unpriced
FROM metrion.requests AS r
ARRAY JOIN if({key:String} = '', mapKeys(metadata), [{key:String}]) AS key
WHERE started_at >= {since:DateTime64(6, 'UTC')} AND started_at < {until:DateTime64(6, 'UTC')}
  AND ({account:String} = '' OR account = {account:String})
GROUP BY account, key, value
ORDER BY account, key, cost_usd DESC NULLS LAST, value;
