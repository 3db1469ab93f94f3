-- What did each requester cost on each day?
-- One row per account, day in the time zone `tz`, and requester ('' if none was named). `cost_usd` is the sum of known costs, NULL
-- if none is known; `unpriced` counts requests without a cost, including interrupted ones; `estimated_usd` is the estimated part
-- of `cost_usd`. Cache hits cost 0; their tokens count as delivered.
SELECT
    account,
    toDate(toTimeZone(started_at, {tz:String})) AS day,
    requester,
    count() AS requests,
    countIf(is_cache_hit) AS hits,
    sum(r.input_tokens) AS input_tokens,
    sum(r.output_tokens) AS output_tokens,
    sum(cost) AS cost_usd,
    sumIf(ifNull(cost, 0), is_estimated) AS estimated_usd,
    countIf(cost IS NULL) AS unpriced
FROM metrion.requests AS r
WHERE started_at >= {since:DateTime64(6, 'UTC')} AND started_at < {until:DateTime64(6, 'UTC')}
  AND ({account:String} = '' OR account = {account:String})
GROUP BY account, day, requester
ORDER BY account, day, cost_usd DESC NULLS LAST, requester;
