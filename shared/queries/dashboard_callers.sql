-- How many requesters were there, by bucket and in all? As in dashboard_sums.sql.
SELECT
    if(whole = 1 AND side = 'period' AND passing = 1, 'passed', toString(side)) AS part,
    grouping(slot) AS whole,
    slot,
    if(grouping(passed) = 1, 2, passed) AS passing,
    uniqExact(p.requester) AS requesters,
    sum(p.requests) AS requests
FROM
(
    WITH toDateTime({since:DateTime64(6, 'UTC')}, 'UTC') AS since, toDateTime({before_since:DateTime64(6, 'UTC')}, 'UTC') AS before_since
    SELECT
        if(u.bucket >= {since:DateTime64(6, 'UTC')}, 'period', 'before') AS side,
        intDiv(
            if({step:UInt32} < 86400,
                toUnixTimestamp(u.bucket) - if(side = 'period', toUnixTimestamp(since), toUnixTimestamp(before_since)),
                86400 * (toDate(u.bucket, {tz:String}) - if(side = 'period', toDate(since, {tz:String}), toDate(before_since, {tz:String})))),
            {step:UInt32}) AS slot,
        u.bucket < if(side = 'period', {cut:DateTime64(6, 'UTC')}, {before_cut:DateTime64(6, 'UTC')}) AS passed,
        u.requester AS requester,
        sum(u.requests) AS requests
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
    GROUP BY side, slot, passed, requester
) AS p
GROUP BY GROUPING SETS ((side, slot), (side), (side, passed))
HAVING whole = 0 OR passing = 1 OR side = 'period' AND passing = 2
ORDER BY whole, part, slot;
