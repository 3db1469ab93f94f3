-- How many requesters were there, in the period, in what passed of it, and in as much of the one before? See dashboard_totals.sql.
WITH
    arrayJoin(arrayFilter(one -> one != '', [
        if(u.bucket >= {since:DateTime64(6, 'UTC')}, 'period', ''),
        if(u.bucket >= {since:DateTime64(6, 'UTC')} AND u.bucket < {cut:DateTime64(6, 'UTC')}, 'passed', ''),
        if(u.bucket < {since:DateTime64(6, 'UTC')} AND u.bucket < {before_cut:DateTime64(6, 'UTC')}, 'before', '')])) AS part
SELECT part, uniqExact(u.requester) AS requesters, sum(u.requests) AS requests
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
GROUP BY part;
