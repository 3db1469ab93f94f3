-- The same by one column: provider, model, requester, token, status or outcome; of whatever has any of `measure`, the largest by
-- `ordered` first. `groups` says how
-- many there are, also those past `limit`. See dashboard_sums.sql.
WITH u.outcome = 'complete' AND u.status < 400 AND u.cache != 'HIT' AS answered
SELECT
    toString({by:Identifier}) AS name,
    toString({beside:Identifier}) AS beside,
    sum(u.requests) AS requests,
    sum(u.errors) AS errors,
    sumIf(u.requests, u.cache = 'HIT') AS hits,
    sum(u.input_tokens) AS input_tokens,
    sum(u.output_tokens) AS output_tokens,
    sum(u.cost) AS cost,
    sum(u.unpriced) AS unpriced,
    sumIf(u.requests, u.priced AND u.usage_source = 'estimated') AS estimated,
    sumIf(u.cost, u.usage_source = 'estimated') AS estimated_cost,
    sum(u.cost_saved) AS saved,
    sumIf(u.latency_sum, answered) / nullIf(sumIf(u.latency_count, answered), 0) AS latency_mean,
    sumIf(u.ttfb_sum, answered) / nullIf(sumIf(u.ttfb_count, answered), 0) AS first_byte_mean,
    ifNull(sum(u.input_tokens), 0) + ifNull(sum(u.output_tokens), 0) AS tokens,
    count() OVER () AS groups
FROM metrion.{source:Identifier} AS u
WHERE u.bucket >= {since:DateTime64(6, 'UTC')} AND u.bucket < {until:DateTime64(6, 'UTC')}
  AND ({account:String} = '' OR u.account = {account:String})
  AND ({provider:String} = '' OR u.provider = {provider:String})
  AND ({any_model:UInt8} OR u.model = {model:String})
  AND ({any_token:UInt8} OR u.token = {token:String})
  AND ({any_requester:UInt8} OR {who:Identifier} = {requester:String})
  AND u.status BETWEEN {status_from:UInt16} AND {status_to:UInt16}
  AND ({cache:String} = '' OR (u.cache = 'HIT') = ({cache:String} = 'yes'))
  AND ({cost:String} = '' OR if({cost:String} = 'unknown', NOT u.priced, u.priced AND u.usage_source = 'estimated'))
GROUP BY name, beside
HAVING {measure:Identifier} > 0
ORDER BY {ordered:Identifier} DESC NULLS LAST, requests DESC, name, beside
LIMIT {limit:UInt32};
