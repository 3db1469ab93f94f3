-- By which unit prices were requests billed? One row per provider, model and service tier, with the prices of the latest request that
-- has any; `unpriced` counts requests of unknown cost. Prices are US dollars per unit, such as a million input tokens.
SELECT
    r.provider AS provider,
    r.model_name AS model,
    r.service_tier AS service_tier,
    argMaxIf(r.unit_prices, r.started_at, notEmpty(r.unit_prices)) AS unit_prices,
    argMaxIf(r.price_version, r.started_at, notEmpty(r.unit_prices)) AS price_version,
    maxOrNullIf(r.started_at, notEmpty(r.unit_prices)) AS billed_at,
    count() AS requests,
    countIf(r.cost IS NULL) AS unpriced
FROM metrion.response_events AS r FINAL
WHERE r.started_at >= {since:DateTime64(6, 'UTC')} AND r.started_at < {until:DateTime64(6, 'UTC')}
  -- include request_filters.sql
GROUP BY provider, model, service_tier
ORDER BY provider, model, service_tier
LIMIT {limit:UInt32}
SETTINGS do_not_merge_across_partitions_select_final = 1;
