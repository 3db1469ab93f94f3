-- What did each value of one or two dimensions use and cost between `since` and `until` (excluded)?
-- `by` and `also` are dimensions such as 'model', 'day' or 'metadata:project' (parts/dimension.sql); `also` is '' for none. `tz` is
-- the time zone of days and months, `account` '' means all. `cost` is the sum of known costs, NULL if none is known; `unpriced`
-- counts requests without a cost. `estimated_cost` is the part that rests on estimates (token counts of a stream whose provider
-- stated none, or an assumed price), from `estimated` requests. Requests that the client aborted are not errors. `latency` is the
-- mean of successful responses that did not come from the cache. `equivalent_sum` is what requests of subscriptions, which cost 0,
-- would have cost at API prices.
-- Days and months come in their order, of the costliest first where they are the second dimension; all else by cost.
WITH
    -- include dimension.sql
    ,
    ('day', 'month') AS times
SELECT
    dimension_of({by:String}) AS key,
    dimension_of({also:String}) AS also_key,
    -- include report_figures.sql
FROM metrion.requests
WHERE started_at >= {since:DateTime64(6, 'UTC')} AND started_at < {until:DateTime64(6, 'UTC')}
  AND ({account:String} = '' OR account = {account:String})
GROUP BY key, also_key
ORDER BY
    if({by:String} IN times, key, ''),
    if({also:String} IN times, sum(ifNull(cost_sum, 0)) OVER (PARTITION BY key), 0) DESC,
    if({also:String} IN times, (key, also_key), ('', '')),
    cost_sum DESC NULLS LAST,
    requests DESC,
    key,
    also_key
LIMIT {limit:UInt32};
