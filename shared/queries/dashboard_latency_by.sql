-- Percentiles 50, 95 and 99 of latency and of the time to first byte, grouped by one column and the one beside it: provider, model.
-- Milliseconds, for successful responses that did not come from the cache. See dashboard_compared.sql and dashboard_by.sql.
SELECT
    toString({by:Identifier}) AS name,
    toString({beside:Identifier}) AS beside,
    -- measures: once
FROM metrion.{source:Identifier} AS u
WHERE u.bucket >= {since:DateTime64(6, 'UTC')} AND u.bucket < {until:DateTime64(6, 'UTC')}
GROUP BY name, beside;
