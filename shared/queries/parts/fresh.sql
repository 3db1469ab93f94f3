-- Reads response_events FINAL as `events`: the requests of the buckets in `touched`.
-- Filters before versions are merged, since all of a request have the same started_at. The hour is in the primary key, the bucket is not.
PREWHERE toStartOfHour(started_at) IN (SELECT toStartOfHour(arrayJoin(touched)))
    AND has(touched, toStartOfFifteenMinutes(toDateTime(started_at, 'UTC')))
    AND started_at >= arrayMin(touched) AND started_at < arrayMax(touched) + INTERVAL 15 MINUTE
