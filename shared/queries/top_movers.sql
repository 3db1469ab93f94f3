-- Whose cost changed most compared with the period before?
-- One row per account and requester, largest change first. The period before ends where this one starts: whole months in the time
-- zone `tz` are compared with as many months, whole days with as many days (so that a clock change has no effect), any other period
-- with an equally long one. Costs are sums of known costs, 0 if none is known; `unpriced` and `unpriced_before` count requests
-- without a cost. `change_percent` is NULL when nothing was spent before. Cache hits cost 0; estimates are included.
WITH
    toTimeZone({since:DateTime64(6, 'UTC')}, {tz:String}) AS start,
    toTimeZone({until:DateTime64(6, 'UTC')}, {tz:String}) AS end,
    dateDiff('month', start, end, {tz:String}) AS months,
    dateDiff('day', start, end, {tz:String}) AS days,
    multiIf(
        months > 0 AND addMonths(start, months) = end, addMonths(start, -months),
        days > 0 AND addDays(start, days) = end, addDays(start, -days),
        addMicroseconds(start, -dateDiff('microsecond', start, end))) AS before
SELECT
    account,
    requester,
    sumIf(ifNull(cost, 0), started_at >= start) AS cost_usd,
    sumIf(ifNull(cost, 0), started_at < start) AS before_usd,
    cost_usd - before_usd AS change_usd,
    if(before_usd = 0, NULL, round(100 * toFloat64(change_usd) / toFloat64(before_usd), 1)) AS change_percent,
    countIf(started_at >= start) AS requests,
    countIf(started_at < start) AS requests_before,
    countIf(started_at >= start AND cost IS NULL) AS unpriced,
    countIf(started_at < start AND cost IS NULL) AS unpriced_before
FROM metrion.requests
WHERE started_at >= before AND started_at < {until:DateTime64(6, 'UTC')}
  AND ({account:String} = '' OR account = {account:String})
GROUP BY account, requester
ORDER BY abs(change_usd) DESC, account, requester
LIMIT {limit:UInt32};
