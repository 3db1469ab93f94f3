-- At which hours of the day are tokens used and money spent?
-- One row an hour of the day, 0 to 23, on the clock of the zone `tz`, over all days of the period; an hour that the clock shows
-- twice is one. Hours without requests have no row. `cost_usd` is the sum of what is known, NULL when nothing is; `unpriced`
-- counts the requests it lacks, `estimated_usd` is the part of it that rests on estimated usage. Hits cost 0; their tokens count.
SELECT
    toHour(toTimeZone(started_at, {tz:String})) AS hour,
    count() AS requests,
    sum(r.input_tokens) AS input_tokens,
    sum(r.output_tokens) AS output_tokens,
    sum(r.cache_read_tokens) AS cache_read_tokens,
    sum(r.reasoning_tokens) AS reasoning_tokens,
    sum(cost) AS cost_usd,
    sumIf(ifNull(cost, 0), is_estimated) AS estimated_usd,
    countIf(cost IS NULL) AS unpriced
FROM metrion.requests AS r
WHERE started_at >= {since:DateTime64(6, 'UTC')} AND started_at < {until:DateTime64(6, 'UTC')}
  AND ({account:String} = '' OR account = {account:String})
GROUP BY hour
ORDER BY hour;
