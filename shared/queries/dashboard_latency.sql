-- How long did complete answers from the provider take, and their first bytes: percentiles 50, 95, 99, ms; by bucket and in all as in
-- dashboard_sums.sql.
SELECT
    -- include compared_whole.sql
    quantilesTDigestMerge(0.5, 0.95, 0.99)(p.ttfb) AS first_byte,
    quantilesTDigestMerge(0.5, 0.95, 0.99)(p.latency) AS latency
FROM
(
    WITH toDateTime({since:DateTime64(6, 'UTC')}, 'UTC') AS since, toDateTime({before_since:DateTime64(6, 'UTC')}, 'UTC') AS before_since
    SELECT
        -- include compared.sql
        quantilesTDigestMergeState(0.5, 0.95, 0.99)(u.ttfb) AS ttfb,
        quantilesTDigestMergeState(0.5, 0.95, 0.99)(u.latency) AS latency
    FROM metrion.{source:Identifier} AS u
    -- include compared_periods.sql
      AND u.answered > 0
    GROUP BY side, slot, passed
) AS p
-- include compared_groups.sql
;
