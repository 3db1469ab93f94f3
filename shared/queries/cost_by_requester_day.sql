-- What did each requester cost on each day?
-- One row an account, day of the zone `tz` and requester ('' named none). `cost_usd` is the sum of what is known, NULL when
-- nothing is; `unpriced` counts the requests it lacks (interrupted ones are among them), `estimated_usd` is the part of it that
-- rests on estimated usage. Cache hits cost 0; their tokens count as delivered.
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
