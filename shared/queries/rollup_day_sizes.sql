-- Rows to read for each of these days, all versions included.
SELECT toStartOfDay(toDateTime(started_at, 'UTC')) AS day, count() AS size
FROM metrion.response_events
WHERE started_at >= arrayMin({days:Array(DateTime('UTC'))})
  AND started_at < arrayMax({days:Array(DateTime('UTC'))}) + INTERVAL 1 DAY
  AND has({days:Array(DateTime('UTC'))}, day)
GROUP BY day;
