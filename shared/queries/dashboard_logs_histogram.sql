-- How many requests ended how, bucket by bucket, and in all (`whole` = 1)? For lists without a search text, which no sum keeps;
-- see dashboard_logs_histogram_search.sql, and dashboard_sums.sql for `source`, `who` and `slot`.
SELECT
    intDiv(
        if({step:UInt32} < 86400,
            toUnixTimestamp(u.bucket) - toUnixTimestamp({since:DateTime64(6, 'UTC')}),
            86400 * (toDate(u.bucket, {tz:String}) - toDate({since:DateTime64(6, 'UTC')}, {tz:String}))),
        {step:UInt32}) AS slot,
    grouping(slot) AS whole,
    sum(u.requests) AS requests,
    sumIf(u.requests, u.cache = 'HIT') AS cached,
    sumIf(u.requests - u.errors, u.cache != 'HIT' AND u.status > 0 AND u.status < 400) AS ok,
    sumIf(u.errors, u.cache != 'HIT' AND u.status > 0 AND u.status < 400) AS broken,
    sumIf(u.requests, u.cache != 'HIT' AND u.status BETWEEN 400 AND 499) AS refused,
    sumIf(u.requests, u.cache != 'HIT' AND u.status >= 500) AS failed,
    sumIf(u.requests, u.status = 0) AS interrupted,
    sum(u.input_tokens) AS input_tokens,
    sum(u.output_tokens) AS output_tokens,
    sum(u.cost) AS cost,
    sum(u.unpriced) AS unpriced
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
GROUP BY GROUPING SETS ((slot), ())
ORDER BY whole DESC, slot;
