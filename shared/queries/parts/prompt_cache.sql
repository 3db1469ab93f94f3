-- Figures of the provider's prompt cache over requests `r`, without those answered from Metrion's own cache. `cache_saved` is what the
-- tokens read from it would have cost as fresh input, less what they did cost; `cache_extra` what writing cost beyond fresh input.
-- Both compare with the price of the request's own fresh input, so `cache_unknown` requests that had none are left out; a
-- subscription's requests, which cost nothing, count in neither. prompt_cache.sql has the same figures for `metrion query`.
count() AS requests,
sum(r.input_tokens) AS input_tokens,
sumIf(r.cache_read_tokens, r.input_tokens IS NOT NULL) AS cache_read,
sumIf(r.cache_write_tokens, r.input_tokens IS NOT NULL) AS cache_written,
cache_read / nullIf(input_tokens, 0) * 100 AS cache_share,
sum(r.cost) AS cost,
countIf(r.cost IS NULL) AS unpriced,
countIf(r.is_estimated) AS estimated,
sumIf(r.cache_read_tokens * r.unit_prices['input_mtok'] / 1000000 - r.cost_by_class['cache_read'],
    r.unit_prices['input_mtok'] > 0 AND mapContains(r.cost_by_class, 'cache_read')) AS cache_saved,
sumIf(r.cost_by_class['cache_write'] - r.cache_write_tokens * r.unit_prices['input_mtok'] / 1000000,
    r.unit_prices['input_mtok'] > 0 AND mapContains(r.cost_by_class, 'cache_write')) AS cache_extra,
cache_saved - cache_extra AS cache_net,
countIf(r.unit_prices['input_mtok'] = 0 AND (mapContains(r.cost_by_class, 'cache_read') OR mapContains(r.cost_by_class, 'cache_write')))
    AS cache_unknown
