-- What did a provider charge on each UTC day, by model, according to Metrion? For comparison with the provider's own figures:
-- cache hits and requests that Metrion refused never reached it and are excluded, and so are requests of a subscription, which are
-- on no API invoice. `cost_usd` is the sum of known costs, NULL if
-- none is known; `unpriced` counts requests without a cost, `estimated_usd` is the estimated part of `cost_usd`. Input tokens are
-- all prompt tokens, including cached ones.
SELECT
    toDate(started_at, 'UTC') AS day,
    concat(model_name, if(endpoint LIKE 'BATCH %', ' (batch)', '')) AS model,
    count() AS requests,
    ifNull(sum(r.input_tokens), 0) AS input_tokens,
    ifNull(sum(r.output_tokens), 0) AS output_tokens,
    sum(cost) AS cost_usd,
    sumIf(ifNull(cost, 0), is_estimated) AS estimated_usd,
    countIf(cost IS NULL) AS unpriced
FROM metrion.requests AS r
WHERE started_at >= {since:DateTime64(6, 'UTC')} AND started_at < {until:DateTime64(6, 'UTC')}
  AND provider = {provider:String} AND ({account:String} = '' OR account = {account:String})
  AND NOT is_cache_hit AND cost_reason != 'refused' AND billing != 'subscription'
GROUP BY day, model
ORDER BY day, model;
