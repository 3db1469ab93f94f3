-- What did each day cost? Days without requests have no row. See dashboard_compared.sql.
SELECT
    -- include slot.sql
    -- measures: once
FROM metrion.{source:Identifier} AS u
WHERE u.bucket >= {since:DateTime64(6, 'UTC')} AND u.bucket < {until:DateTime64(6, 'UTC')}
GROUP BY slot
ORDER BY slot;
