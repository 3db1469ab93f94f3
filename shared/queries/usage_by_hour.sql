-- At which hours of the day are tokens used and money spent?
-- One row per hour of the day, 0 to 23, in the time zone `tz`, over all days of the period; an hour repeated by a clock change
-- counts as one. Hours without requests have no row. `cost_usd` is the sum of known costs, NULL if none is known; `unpriced` counts
-- requests without a cost, `estimated_usd` is the estimated part of `cost_usd`. Cache hits cost 0; their tokens count.
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
