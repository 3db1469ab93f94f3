-- The same bucket by bucket: `slot` counts them from `since`, in steps of seconds below a day, else of days of the zone `tz`.
-- Empty buckets have no row. See dashboard_totals.sql.
WITH u.outcome = 'complete' AND u.status < 400 AND u.cache != 'HIT' AS answered
SELECT
    intDiv(
        if({step:UInt32} < 86400,
            dateDiff('second', {since:DateTime64(6, 'UTC')}, u.bucket),
            86400 * dateDiff('day', {since:DateTime64(6, 'UTC')}, u.bucket, {tz:String})),
        {step:UInt32}) AS slot,
    sum(u.requests) AS requests,
    sum(u.errors) AS errors,
    sumIf(u.requests, u.cache = 'HIT') AS hits,
    sum(u.input_tokens) AS input_tokens,
    sum(u.output_tokens) AS output_tokens,
    sum(u.cost) AS cost,
    sum(u.unpriced) AS unpriced,
    sumIf(u.requests, u.priced AND u.usage_source = 'estimated') AS estimated,
    sum(u.cost_saved) AS saved,
    sumIf(u.latency_sum, answered) / nullIf(sumIf(u.latency_count, answered), 0) AS latency_mean,
    quantilesTDigestMergeIf(0.5, 0.95, 0.99)(u.latency, answered) AS latency,
    quantilesTDigestMergeIf(0.5, 0.95, 0.99)(u.ttfb, answered) AS first_byte
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
GROUP BY slot
ORDER BY slot;
