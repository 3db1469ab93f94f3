-- Who cost what, against the period before? One row a requester ('' named none), ordered by `measure`.
-- `trend` has the cost by bucket. `cost_now` and `cost_before` compare like with like: what passed
-- of this period until `cut`, and as much of the one before. `groups` says how many there are. See dashboard_sums.sql.
WITH
    u.bucket >= {since:DateTime64(6, 'UTC')} AS present
SELECT
    u.requester AS requester,
    sumIf(u.requests, present) AS requests,
    sumIf(u.errors, present) AS errors,
    sumIf(u.hits, present) AS hits,
    sumIf(ifNull(u.input_tokens, 0) + ifNull(u.output_tokens, 0), present) AS tokens,
    sumIf(u.cost, present) AS cost,
    sumIf(u.unpriced, present) AS unpriced,
    sumIf(u.estimated, present) AS estimated,
    sumIf(u.cost_saved, present) AS saved,
    sumIf(u.answered_ms, present) / nullIf(sumIf(u.answered, present), 0) AS latency_mean,
    ifNull(sumIf(u.cost, present AND u.bucket < {cut:DateTime64(6, 'UTC')}), 0) AS cost_now,
    ifNull(sumIf(u.cost, NOT present), 0) AS cost_before,
    cost_now - cost_before AS change,
    sumMapIf(map(intDiv(
            if({step:UInt32} < 86400,
                toUnixTimestamp(u.bucket) - toUnixTimestamp({since:DateTime64(6, 'UTC')}),
                86400 * (toDate(u.bucket, {tz:String}) - toDate({since:DateTime64(6, 'UTC')}, {tz:String}))),
            {step:UInt32}), ifNull(u.cost, 0)), present) AS trend,
    maxIf(u.bucket, present) AS last_seen,
    count() OVER () AS groups
FROM metrion.{source:Identifier} AS u
WHERE (u.bucket >= {since:DateTime64(6, 'UTC')} AND u.bucket < {until:DateTime64(6, 'UTC')}
    OR u.bucket >= {before_since:DateTime64(6, 'UTC')} AND u.bucket < {before_until:DateTime64(6, 'UTC')})
  AND ({account:String} = '' OR u.account = {account:String})
  AND ({provider:String} = '' OR u.provider = {provider:String})
  AND ({any_model:UInt8} OR u.model = {model:String})
  AND ({any_token:UInt8} OR u.token = {token:String})
  AND ({any_requester:UInt8} OR {who:Identifier} = {requester:String})
  AND u.status BETWEEN {status_from:UInt16} AND {status_to:UInt16}
  AND ({cache:String} = '' OR (u.cache = 'HIT') = ({cache:String} = 'yes'))
  AND ({cost:String} = '' OR if({cost:String} = 'unknown', NOT u.priced, u.priced AND u.usage_source = 'estimated'))
GROUP BY u.requester
HAVING requests > 0
ORDER BY {measure:Identifier} DESC NULLS LAST, requests DESC, requester
LIMIT {limit:UInt32} OFFSET {offset:UInt32};
