-- Rows to read for each of these buckets, all versions included.
SELECT toStartOfFifteenMinutes(toDateTime(started_at, 'UTC')) AS bucket, count() AS size
FROM metrion.response_events
WHERE toStartOfHour(started_at) IN (SELECT toStartOfHour(arrayJoin({buckets:Array(DateTime('UTC'))})))
GROUP BY bucket;
