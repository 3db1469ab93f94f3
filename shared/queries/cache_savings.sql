-- What did the cache save?
-- One row an account, provider and model asked for, of the requests that asked for the cache (x-metrion-cache). `saved_usd` is
-- what the hits would have cost, as far as that is known, NULL when it is for none; `saved_unknown` counts the hits it lacks.
-- `cost_usd` is what the others cost (misses and refreshes), NULL when unknown for all; `unpriced` counts what it lacks.
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
