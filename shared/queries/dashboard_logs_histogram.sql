-- How many requests ended how, bucket by bucket, and in all (`whole` = 1)? For lists without a search text, which no sum keeps;
-- see dashboard_logs_histogram_search.sql, and dashboard_sums.sql for `source` and `slot`.
SELECT
    -- include slot.sql
    grouping(slot) AS whole,
    sum(u.requests) AS requests,
    sum(u.hits) AS cached,
    sum(u.ok) AS ok,
    sum(u.broken) AS broken,
    sum(u.refused) AS refused,
    sum(u.failed) AS failed,
    sum(u.interrupted) AS interrupted,
    sum(u.input_tokens) AS input_tokens,
    sum(u.output_tokens) AS output_tokens,
    sum(u.cost) AS cost,
    sum(u.unpriced) AS unpriced
FROM metrion.{source:Identifier} AS u
WHERE u.bucket >= {since:DateTime64(6, 'UTC')} AND u.bucket < {until:DateTime64(6, 'UTC')}
GROUP BY GROUPING SETS ((slot), ())
ORDER BY whole DESC, slot;
