-- The totals under a report, over every group and not only those listed; `groups` says how many there are. See report.sql.
SELECT
    uniqExact(multiIf(
        {by:String} = 'day', toString(toDate(toTimeZone(started_at, {tz:String}))),
        {by:String} = 'model', if(model = '', model_requested, model),
        {by:String} = 'provider', provider,
        {by:String} = 'token', concat(account, '/', token),
        requester)) AS groups,
    count() AS requests,
    countIf(outcome NOT IN ('complete', 'client_closed') OR (outcome = 'complete' AND (status >= 400 OR error_type != '')))
        AS errors,
    sum(input_tokens) AS input_sum,
    sum(output_tokens) AS output_sum,
    sum(cache_read_tokens) AS cache_read_sum,
    sum(cache_write_tokens) AS cache_write_sum,
    sum(cache_write_1h_tokens) AS cache_write_1h_sum,
    countIf(cache = 'HIT') AS cache_hits,
    if(cache_hits = 0, toDecimal128(0, 12), sumIf(cost_saved, cache = 'HIT')) AS cost_saved_sum,
    sum(cost) AS cost_sum,
    countIf(cost IS NULL) AS unpriced,
    countIf(usage_source = 'estimated') AS estimated,
    ifNull(sumIf(cost, usage_source = 'estimated'), 0) AS estimated_cost,
    avgOrNullIf(latency_ms, outcome != 'interrupted') AS latency
FROM metrion.requests
WHERE started_at >= {since:DateTime64(6, 'UTC')} AND started_at < {until:DateTime64(6, 'UTC')}
  AND ({account:String} = '' OR account = {account:String});
