-- How much of each measure was there, bucket by bucket (`whole` = 0) and in all (1)? `part`: the `period`, and the one `before`. `slot`
-- counts buckets from the start of the part, in steps of seconds below a day, else of days of the zone `tz`; empty ones have no row. In
-- all there is one row for the `period`; to compare like with like one for what `passed` of it until `cut`, and one for as much of the
-- period `before`.
-- `source` is the smallest part of the rollup that can answer, less what the page's filters leave out: see services/dashboard/queries/source_sql.py.
-- The measures are those that the page shows: see services/dashboard/queries/measures.py. `cost` is the sum of what is known, NULL when nothing
-- is; `unpriced` counts the requests it lacks, `estimated` those whose cost is an estimate.
SELECT
    -- include compared_whole.sql
    -- measures: outer
FROM
(
    WITH
        toDateTime({since:DateTime64(6, 'UTC')}, 'UTC') AS since,
        toDateTime({before_since:DateTime64(6, 'UTC')}, 'UTC') AS before_since
    SELECT
        -- include compared.sql
        -- measures: inner
    FROM metrion.{source:Identifier} AS u
    -- include compared_periods.sql
    GROUP BY side, slot, passed
) AS p
-- include compared_groups.sql
;
