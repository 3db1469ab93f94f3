-- Every bucket of the days from `since` to `until` (excluded) that has requests or had some, and how many stored versions.
SELECT bucket, sum(stored) AS size
FROM
(
    SELECT toStartOfFifteenMinutes(toDateTime(started_at, 'UTC')) AS bucket, count() AS stored FROM metrion.response_events
    WHERE started_at >= {since:DateTime('UTC')} AND started_at < {until:DateTime('UTC')}
    GROUP BY bucket
    UNION ALL
    SELECT DISTINCT bucket, 0 FROM metrion.usage_totals_15m
    WHERE bucket >= {since:DateTime('UTC')} AND bucket < {until:DateTime('UTC')}
)
GROUP BY bucket
ORDER BY bucket;
