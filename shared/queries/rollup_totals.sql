-- After rollup_vanished: the same buckets without the requester.
INSERT INTO metrion.usage_totals_15m
(
    -- include quarter_names.sql
    , computed_at
)
SELECT
    -- include quarter_key.sql
    , quantilesTDigestMergeState(0.5, 0.95, 0.99)(q.latency), quantilesTDigestMergeState(0.5, 0.95, 0.99)(q.ttfb),
    -- include sums_again.sql
    , {at:DateTime64(3, 'UTC')}
FROM metrion.usage_15m AS q FINAL
WHERE bucket IN (SELECT arrayJoin({buckets:Array(DateTime('UTC'))})) AND q.requests > 0
GROUP BY
    -- include quarter_key.sql
;
