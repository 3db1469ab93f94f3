-- How long after its end is a request stored? Seconds, for requests answered within the last hour.
SELECT
    count() AS requests,
    quantileExactIf(0.5)(lag, lag >= 0) AS p50,
    quantileExactIf(0.95)(lag, lag >= 0) AS p95,
    max(lag) AS longest
FROM
(
    SELECT dateDiff('millisecond', started_at, ingested_at) / 1000 - latency_ms / 1000 AS lag
    FROM metrion.response_events
    WHERE started_at >= {now:DateTime64(6, 'UTC')} - INTERVAL 1 HOUR AND version = 2
);
