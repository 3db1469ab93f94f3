-- What did the cache save?
-- One row per account, provider and requested model, for requests that asked for caching (x-metrion-cache). `saved_usd` is the
-- known cost of what the hits saved, NULL if it is known for none; `saved_unknown` counts hits without a known saving. `cost_usd`
-- is the known cost of the other requests (misses and refreshes), NULL if none is known; `unpriced` counts those without a cost.
SELECT
    account,
    provider,
    model_requested AS model,
    count() AS requests,
    countIf(is_cache_hit) AS hits,
    round(100 * hits / requests, 1) AS hit_percent,
    sumIf(cost_saved, is_cache_hit) AS saved_usd,
    countIf(is_cache_hit AND cost_saved IS NULL) AS saved_unknown,
    sumIf(cost, NOT is_cache_hit) AS cost_usd,
    countIf(NOT is_cache_hit AND cost IS NULL) AS unpriced
FROM metrion.requests
WHERE started_at >= {since:DateTime64(6, 'UTC')} AND started_at < {until:DateTime64(6, 'UTC')}
  AND ({account:String} = '' OR account = {account:String})
  AND cache != ''
GROUP BY account, provider, model
ORDER BY account, saved_usd DESC NULLS LAST, provider, model;
