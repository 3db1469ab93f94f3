-- How many requesters were there, bucket by bucket? See dashboard_series.sql.
WITH
    if(u.bucket >= {since:DateTime64(6, 'UTC')}, 'period', 'before') AS part,
    toTimeZone(if(part = 'period', {since:DateTime64(6, 'UTC')}, {before_since:DateTime64(6, 'UTC')}), {tz:String}) AS start
SELECT
    part,
    intDiv(
        if({step:UInt32} < 86400,
            dateDiff('second', start, u.bucket),
            86400 * dateDiff('day', start, u.bucket, {tz:String})),
        {step:UInt32}) AS slot,
    uniqExact(u.requester) AS requesters
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
