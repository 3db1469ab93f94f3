-- Which sessions gain from the provider's prompt cache, and which pay for writing what is never read?
-- One row per account, requester, session, provider and model; what costs most for nothing comes first. `read_percent` is the share of
-- input tokens read from the cache. `saved_usd` is what these would have cost as fresh input, less their price; `extra_usd` what
-- writing cost beyond fresh input; `net_usd` their difference. They compare with the price of the request's own fresh input, so
-- `unknown` requests that had none are left out. `cost_usd` is the sum of known costs; `unpriced` counts requests without one.
-- `cache_use` is 'never read' for a session that wrote the cache in several requests and read it in none, 'not used' for one of at
-- least five requests, 2,048 input tokens on average, that did neither.
SELECT
    account,
    requester,
    session,
    provider,
    model_name AS model,
    count() AS requests,
    sum(r.input_tokens) AS input_tokens,
    round(100 * sum(r.cache_read_tokens) / input_tokens, 1) AS read_percent,
    sum(r.cache_write_tokens) AS written_tokens,
    sum(cost) AS cost_usd,
    countIf(cost IS NULL) AS unpriced,
    sumIf(r.cache_read_tokens * unit_prices['input_mtok'] / 1000000 - cost_by_class['cache_read'],
        unit_prices['input_mtok'] > 0 AND mapContains(cost_by_class, 'cache_read')) AS saved_usd,
    sumIf(cost_by_class['cache_write'] - r.cache_write_tokens * unit_prices['input_mtok'] / 1000000,
        unit_prices['input_mtok'] > 0 AND mapContains(cost_by_class, 'cache_write')) AS extra_usd,
    saved_usd - extra_usd AS net_usd,
    countIf(unit_prices['input_mtok'] = 0
        AND (mapContains(cost_by_class, 'cache_read') OR mapContains(cost_by_class, 'cache_write'))) AS unknown,
    multiIf(
        session = '' OR sum(r.cache_read_tokens) > 0, '',
        written_tokens > 0 AND requests > 1, 'never read',
        written_tokens = 0 AND requests >= 5 AND input_tokens >= 2048 * requests, 'not used',
        '') AS cache_use
FROM metrion.requests AS r
WHERE started_at >= {since:DateTime64(6, 'UTC')} AND started_at < {until:DateTime64(6, 'UTC')}
  AND ({account:String} = '' OR account = {account:String})
  AND NOT is_cache_hit AND r.input_tokens > 0
GROUP BY account, requester, session, provider, model
ORDER BY net_usd, input_tokens DESC, account, requester, session, provider, model
LIMIT {limit:UInt32};
