-- Which days do usage_days and usage_session_days have? All from `first` and `first_of_sessions` to before `until`, but for those in
-- `touched`: requests of them were stored since the last pass. No row, if no pass has come to an end. See shared/rollup_days.py.
WITH
(
    SELECT tuple(toStartOfDay(toDateTime(max(up_to) - INTERVAL {settling:UInt32} SECOND, 'UTC')), max(up_to), argMax(rows_from, up_to), count())
    FROM metrion.rollup_passes
    WHERE pass = 'day sums'
) AS state  -- a constant, so that the index of `ingested_at` serves
SELECT
    (SELECT min(bucket) FROM metrion.usage_days) AS first,
    (SELECT min(bucket) FROM metrion.usage_session_days) AS first_of_sessions,
    assumeNotNull(state.1) AS until,
    (
        SELECT groupUniqArray(toStartOfDay(toDateTime(started_at, 'UTC')))
        FROM metrion.response_events
        WHERE ingested_at > state.2 - INTERVAL 3 MINUTE AND started_at < state.1 AND started_at >= state.3
    ) AS touched
WHERE state.4 > 0;
