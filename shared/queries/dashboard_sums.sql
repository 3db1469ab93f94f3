-- What came, failed and cost, bucket by bucket (`whole` = 0) and in all (1)? `part`: the `period`, and the one `before`. `slot` counts
-- buckets from the start of the part, in steps of seconds below a day, else of days of the zone `tz`; empty ones have no row. In all
-- there is one row for the `period`; to compare like with like one for what `passed` of it until `cut`, and one for as much of the
-- period `before`.
-- `source` is the smallest part of the books that can answer, see services/dashboard/sources.py; `who` is its column of requesters,
-- any other where it has none. `cost` is the sum of what is known, NULL when nothing is; `unpriced` counts the requests it lacks,
-- `estimated` those whose tokens are. Latency is that of complete answers from the provider: no errors, no cache hits.
SELECT
    if(whole = 1 AND side = 'period' AND passing = 1, 'passed', toString(side)) AS part,
    grouping(slot) AS whole,
    slot,
    if(grouping(passed) = 1, 2, passed) AS passing,
    sum(p.requests) AS requests,
    sum(p.errors) AS errors,
    sum(p.hits) AS hits,
    sum(p.input_tokens) AS input_tokens,
    sum(p.output_tokens) AS output_tokens,
    sum(p.cost) AS cost,
    sum(p.unpriced) AS unpriced,
    sum(p.estimated) AS estimated,
    sum(p.estimated_cost) AS estimated_cost,
    sum(p.saved) AS saved,
    sum(p.latency_sum) / nullIf(sum(p.latency_count), 0) AS latency_mean,
    sum(p.ttfb_sum) / nullIf(sum(p.ttfb_count), 0) AS first_byte_mean,
    sum(p.cacheable) AS cacheable,
    sum(p.cache_read_tokens) AS cache_read_tokens,
    sum(p.cache_write_tokens) AS cache_write_tokens,
    sum(p.reasoning_tokens) AS reasoning_tokens
FROM
(
    WITH
        u.outcome = 'complete' AND u.status < 400 AND u.cache != 'HIT' AS answered,
        toDateTime({since:DateTime64(6, 'UTC')}, 'UTC') AS since,
        toDateTime({before_since:DateTime64(6, 'UTC')}, 'UTC') AS before_since
    SELECT
        if(u.bucket >= {since:DateTime64(6, 'UTC')}, 'period', 'before') AS side,
        intDiv(
            if({step:UInt32} < 86400,
                toUnixTimestamp(u.bucket) - if(side = 'period', toUnixTimestamp(since), toUnixTimestamp(before_since)),
                86400 * (toDate(u.bucket, {tz:String}) - if(side = 'period', toDate(since, {tz:String}), toDate(before_since, {tz:String})))),
            {step:UInt32}) AS slot,
        u.bucket < if(side = 'period', {cut:DateTime64(6, 'UTC')}, {before_cut:DateTime64(6, 'UTC')}) AS passed,
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
        sumIf(u.latency_sum, answered) AS latency_sum,
        sumIf(u.latency_count, answered) AS latency_count,
        sumIf(u.ttfb_sum, answered) AS ttfb_sum,
        sumIf(u.ttfb_count, answered) AS ttfb_count,
        sumIf(u.requests, u.cache != '') AS cacheable,
        sum(u.cache_read_tokens) AS cache_read_tokens,
        sum(u.cache_write_tokens) AS cache_write_tokens,
        sum(u.reasoning_tokens) AS reasoning_tokens
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
    GROUP BY side, slot, passed
) AS p
GROUP BY GROUPING SETS ((side, slot), (side), (side, passed))
HAVING whole = 0 OR passing = 1 OR side = 'period' AND passing = 2
ORDER BY whole, part, slot;
