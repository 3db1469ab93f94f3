-- How many requesters were there, bucket by bucket? `slot` as in dashboard_series.sql.
SELECT
    intDiv(
        if({step:UInt32} < 86400,
            dateDiff('second', {since:DateTime64(6, 'UTC')}, u.bucket),
            86400 * dateDiff('day', {since:DateTime64(6, 'UTC')}, u.bucket, {tz:String})),
        {step:UInt32}) AS slot,
    uniqExact(u.requester) AS requesters
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
