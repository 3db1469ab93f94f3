-- How many requests ended in which way, per bucket and in total (`whole` = 1)? For lists without a search text, which no rollup keeps;
-- see dashboard_logs_histogram_search.sql, and dashboard_compared.sql for `source` and `slot`.
SELECT
    -- include slot.sql
    grouping(slot) AS whole,
    -- measures: once
FROM metrion.{source:Identifier} AS u
WHERE u.bucket >= {since:DateTime64(6, 'UTC')} AND u.bucket < {until:DateTime64(6, 'UTC')}
GROUP BY GROUPING SETS ((slot), ())
ORDER BY whole DESC, slot;
