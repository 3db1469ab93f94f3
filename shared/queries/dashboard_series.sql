-- The same bucket by bucket, of the `period` and of the one `before`: `slot` counts buckets from the start of the part, in steps of
-- seconds below a day, else of days of the zone `tz`. Empty buckets have no row. See dashboard_totals.sql.
WITH
    u.outcome = 'complete' AND u.status < 400 AND u.cache != 'HIT' AS answered,
    if(u.bucket >= {since:DateTime64(6, 'UTC')}, 'period', 'before') AS part,
    toTimeZone(if(part = 'period', {since:DateTime64(6, 'UTC')}, {before_since:DateTime64(6, 'UTC')}), {tz:String}) AS start
SELECT
    part,
    intDiv(
        if({step:UInt32} < 86400,
            dateDiff('second', start, u.bucket),
            86400 * dateDiff('day', start, u.bucket, {tz:String})),
        {step:UInt32}) AS slot,
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
    quantilesTDigestMergeIf(0.5, 0.95, 0.99)(u.latency, answered) AS latency,
    quantilesTDigestMergeIf(0.5, 0.95, 0.99)(u.ttfb, answered) AS first_byte
FROM metrion.{source:Identifier} AS u
WHERE (u.bucket >= {since:DateTime64(6, 'UTC')} AND u.bucket < {until:DateTime64(6, 'UTC')} OR u.bucket >= {before_since:DateTime64(6, 'UTC')} AND u.bucket < {before_until:DateTime64(6, 'UTC')})
  AND ({account:String} = '' OR u.account = {account:String})
  AND ({provider:String} = '' OR u.provider = {provider:String})
  AND ({any_model:UInt8} OR u.model = {model:String})
  AND ({any_token:UInt8} OR u.token = {token:String})
  AND ({any_requester:UInt8} OR {who:Identifier} = {requester:String})
  AND u.status BETWEEN {status_from:UInt16} AND {status_to:UInt16}
  AND ({cache:String} = '' OR (u.cache = 'HIT') = ({cache:String} = 'yes'))
  AND ({cost:String} = '' OR if({cost:String} = 'unknown', NOT u.priced, u.priced AND u.usage_source = 'estimated'))
GROUP BY part, slot
ORDER BY part, slot;
