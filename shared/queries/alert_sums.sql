-- Sums of an alert rule's requests in a period, by one column. From the rollup; times begin at quarters of an hour.
-- `by`: requester, token, provider, model or account; `whole`: tell nothing apart. `names`: only these of `by`, [] for all.
-- The largest by `ordered` first, those of at least `minimum` requests before all others. `sample`: requests that the measure is about.
-- `source`: usage, or usage_totals where requesters play no part.
SELECT
    if({whole:Bool}, '', toString({by:Identifier})) AS subject,
    sum(u.requests) AS requests,
    sum(u.errors) AS errors,
    ifNull(sum(u.input_tokens), 0) + ifNull(sum(u.output_tokens), 0) AS tokens,
    ifNull(sum(u.cost), 0) AS cost,
    requests - sum(u.unpriced) AS priced,
    100 * errors / requests AS error_rate,
    toFloat64(cost) / nullIf(priced, 0) AS cost_per_request,
    if({measure:String} = 'cost_per_request', toUInt64(priced), requests) AS sample
FROM metrion.{source:Identifier} AS u
-- include alert_scope.sql
GROUP BY subject
ORDER BY sample >= {minimum:UInt64} DESC, {ordered:Identifier} DESC NULLS LAST, subject
LIMIT {limit:UInt32}
SETTINGS max_threads = 2, max_execution_time = 30;
