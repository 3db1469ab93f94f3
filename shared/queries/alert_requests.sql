-- The same as alert_sums.sql and alert_latency.sql from the requests, for short windows and metadata, which the rollup does not tell apart.
SELECT
    if({whole:Bool}, '', toString({by:Identifier})) AS subject,
    count() AS requests,
    countIf(e.is_error) AS errors,
    ifNull(sum(e.input_tokens), 0) + ifNull(sum(e.output_tokens), 0) AS tokens,
    ifNull(sum(e.cost), 0) AS cost,
    countIf(e.cost IS NOT NULL) AS priced,
    100 * errors / requests AS error_rate,
    toFloat64(cost) / nullIf(priced, 0) AS cost_per_request,
    countIf(e.is_answered) AS answered,
    quantilesTDigestIf(0.5, 0.95, 0.99)(e.latency_ms, e.is_answered)[2] AS latency_p95,
    quantilesTDigestIf(0.5, 0.95, 0.99)(assumeNotNull(e.ttfb_ms), e.is_answered AND e.ttfb_ms IS NOT NULL)[2] AS first_byte_p95,
    multiIf({measure:String} = 'cost_per_request', priced, {measure:String} IN ('latency_p95', 'first_byte_p95'), answered, requests) AS sample
FROM metrion.response_events AS e FINAL
WHERE ({account:String} = '' OR e.account = {account:String})
  AND e.started_at >= {since:DateTime64(3, 'UTC')} AND e.started_at < {until:DateTime64(3, 'UTC')}
  AND toStartOfHour(e.started_at) >= toStartOfHour({since:DateTime64(3, 'UTC')})
  AND ({token:String} = '' OR e.token = {token:String})
  AND ({requester:String} = '' OR e.requester = {requester:String})
  AND ({provider:String} = '' OR e.provider = {provider:String})
  AND ({model:String} = '' OR e.model_name LIKE {model:String})
  AND ({metadata_key:String} = '' OR e.metadata[{metadata_key:String}] = {metadata_value:String})
  AND ({names:Array(String)} = [] OR has({names:Array(String)}, toString({by:Identifier})))
GROUP BY subject
ORDER BY sample >= {minimum:UInt64} DESC, {ordered:Identifier} DESC NULLS LAST, subject
LIMIT {limit:UInt32}
SETTINGS max_threads = 2, max_execution_time = 30, do_not_merge_across_partitions_select_final = 1;
