-- What did each project, feature or environment (x-metrion-meta-…) cost?
-- One row per account, metadata key and value. With a `key`, the rows add up to all requests: those without it have the value ''.
-- With '' every key is listed, and a request counts once per key that it has. `cost_usd` is the sum of known costs, NULL if none
-- is known; `unpriced` counts requests without a cost, `estimated_usd` is the estimated part of `cost_usd`.
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
