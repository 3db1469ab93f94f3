-- What came, failed and cost, bucket by bucket (`whole` = 0) and in all (1)? `part`: the `period`, and the one `before`. `slot` counts
-- buckets from the start of the part, in steps of seconds below a day, else of days of the zone `tz`; empty ones have no row. In all
-- there is one row for the `period`; to compare like with like one for what `passed` of it until `cut`, and one for as much of the
-- period `before`.
-- `source` is the smallest part of the books that can answer, less what the page's filters leave out: see services/dashboard/queries/source_sql.py.
-- `cost` is the sum of what is known, NULL when nothing is; `unpriced` counts the requests it lacks,
-- `estimated` those whose tokens are. Latency is that of complete answers from the provider: no errors, no cache hits. Figures that a
-- page does not show are not asked for: their lines are left out, see services/dashboard/queries/runner.py.
SELECT
    -- include compared_whole.sql
    sum(p.errors) AS errors,
    sum(p.hits) AS hits,
    sum(p.input_tokens) AS input_tokens,
    sum(p.output_tokens) AS output_tokens,
    sum(p.cost) AS cost,
    sum(p.unpriced) AS unpriced,
    sum(p.estimated) AS estimated,
    sum(p.estimated_cost) AS estimated_cost,
    sum(p.saved) AS saved,
    sum(p.answered_ms) / nullIf(sum(p.answered), 0) AS latency_mean,
    sum(p.first_byte_ms) / nullIf(sum(p.first_bytes), 0) AS first_byte_mean,
    sum(p.requests) AS requests
FROM
(
    WITH
        toDateTime({since:DateTime64(6, 'UTC')}, 'UTC') AS since,
        toDateTime({before_since:DateTime64(6, 'UTC')}, 'UTC') AS before_since
    SELECT
        -- include compared.sql
        sum(u.errors) AS errors,
        sum(u.hits) AS hits,
        sum(u.input_tokens) AS input_tokens,
        sum(u.output_tokens) AS output_tokens,
        sum(u.cost) AS cost,
        sum(u.unpriced) AS unpriced,
        sum(u.estimated) AS estimated,
        sum(u.estimated_cost) AS estimated_cost,
        sum(u.cost_saved) AS saved,
        sum(u.answered_ms) AS answered_ms,
        sum(u.answered) AS answered,
        sum(u.first_byte_ms) AS first_byte_ms,
        sum(u.first_bytes) AS first_bytes,
        sum(u.requests) AS requests
    FROM metrion.{source:Identifier} AS u
    -- include compared_periods.sql
    GROUP BY side, slot, passed
) AS p
-- include compared_groups.sql
;
