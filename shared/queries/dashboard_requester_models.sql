-- Which models did these requesters use, and how often? One row each.
SELECT u.requester AS requester, sumMap(u.models) AS models
FROM metrion.{source:Identifier} AS u
WHERE u.bucket >= {since:DateTime64(6, 'UTC')} AND u.bucket < {until:DateTime64(6, 'UTC')}
  AND u.requester IN (SELECT arrayJoin({names:Array(String)}))
  AND ({account:String} = '' OR u.account = {account:String})
  AND ({provider:String} = '' OR u.provider = {provider:String})
  AND ({any_model:UInt8} OR u.model = {model:String})
  AND ({any_token:UInt8} OR u.token = {token:String})
  AND ({any_requester:UInt8} OR {who:Identifier} = {requester:String})
  AND u.status BETWEEN {status_from:UInt16} AND {status_to:UInt16}
  AND ({cache:String} = '' OR (u.cache = 'HIT') = ({cache:String} = 'yes'))
  AND ({cost:String} = '' OR if({cost:String} = 'unknown', NOT u.priced, u.priced AND u.usage_source = 'estimated'))
GROUP BY u.requester;
