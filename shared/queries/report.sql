-- What did each requester, model, provider, token, client, agent, session or day use and cost between `since` and `until` (excluded)?
-- `by` chooses the grouping, `tz` the time zone of days, `account` '' means all. `cost` is the sum of known costs, NULL if none is
-- known; `unpriced` counts requests without a cost. `estimated_cost` is the part that rests on estimates (token counts of a stream
-- whose provider stated none, or an assumed price), from `estimated` requests. Requests that the client aborted are not errors.
-- `latency` is the mean of successful responses that did not come from the cache.
-- `equivalent_sum` is what requests of subscriptions, which cost 0, would have cost by API prices.
SELECT
    multiIf(
        {by:String} = 'day', toString(toDate(toTimeZone(started_at, {tz:String}))),
        {by:String} = 'model', model_name,
        {by:String} = 'provider', provider,
        {by:String} = 'token', concat(account, '/', token),
        {by:String} = 'client', client,
        {by:String} = 'agent', agent,
        {by:String} = 'session', session,
        requester) AS key,
    count() AS requests,
    countIf(is_error) AS errors,
    sum(input_tokens) AS input_sum,
    sum(output_tokens) AS output_sum,
    sum(cache_read_tokens) AS cache_read_sum,
    sum(cache_write_tokens) AS cache_write_sum,
    sum(cache_write_1h_tokens) AS cache_write_1h_sum,
    countIf(is_cache_hit) AS cache_hits,
    if(cache_hits = 0, toDecimal128(0, 12), sumIf(cost_saved, is_cache_hit)) AS cost_saved_sum,
    sum(cost) AS cost_sum,
    countIf(cost IS NULL) AS unpriced,
    countIf(is_estimated) AS estimated,
    ifNull(sumIf(cost, is_estimated), 0) AS estimated_cost,
    avg(answered_latency_ms) AS latency,
    sum(cost_equivalent) AS equivalent_sum
FROM metrion.requests
WHERE started_at >= {since:DateTime64(6, 'UTC')} AND started_at < {until:DateTime64(6, 'UTC')}
  AND ({account:String} = '' OR account = {account:String})
GROUP BY key
ORDER BY if({by:String} = 'day', key, ''), cost_sum DESC NULLS LAST, requests DESC, key
LIMIT {limit:UInt32};
