-- Measures of each model with its provider (`panel` = 'models'), and of each provider ('providers'). Only those with any `measure`, largest by
-- `ordered` first. See dashboard_compared.sql.
SELECT
    if(grouping(u.model) = 0, 'models', 'providers') AS panel,
    toString(if(panel = 'models', u.model, u.provider)) AS name,
    toString(u.provider) AS beside,
    -- measures: once
FROM metrion.{source:Identifier} AS u
WHERE u.bucket >= {since:DateTime64(6, 'UTC')} AND u.bucket < {until:DateTime64(6, 'UTC')}
GROUP BY GROUPING SETS ((u.provider, u.model), (u.provider))
HAVING {measure:Identifier} > 0
ORDER BY panel, {ordered:Identifier} DESC NULLS LAST, requests DESC, name, beside
LIMIT {limit:UInt32} BY panel;
