-- How large was each measure per bucket (`whole` = 0) and in total (`whole` = 1)? `part` is the `period` or the one `before`. `slot`
-- numbers the buckets from the start of the part, in steps of seconds below a day, else of days in the time zone `tz`; empty buckets
-- have no row. Totals are one row for the `period` as far as it has come, and one for an equally long
-- time of the period `before`, until `before_cut`, so that like is compared with like.
-- `source` is the smallest part of the rollup that suffices, after the page's filters: see services/dashboard/queries/source_sql.py.
-- Measures are those that the page shows: see services/dashboard/queries/measures.py. `cost` is the sum of known costs, NULL if none is
-- known; `unpriced` counts requests without a cost, `estimated` those with an estimated one.
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
    GROUP BY present, slot, compared
) AS p
-- include compared_groups.sql
;
