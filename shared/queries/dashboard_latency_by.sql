-- Percentiles 50, 95, 99 of latency and of the time to the first byte, by one column and what stands beside it: provider, model.
-- Milliseconds, of successful responses that did not come from the cache. See dashboard_compared.sql and dashboard_by.sql.
SELECT
    toString({by:Identifier}) AS name,
    toString({beside:Identifier}) AS beside,
    -- measures: once
FROM metrion.{source:Identifier} AS u
WHERE u.bucket >= {since:DateTime64(6, 'UTC')} AND u.bucket < {until:DateTime64(6, 'UTC')}
GROUP BY name, beside;
