-- The same percentiles by one column and what stands beside it: provider, model. See dashboard_latency.sql and dashboard_by.sql.
SELECT
    toString({by:Identifier}) AS name,
    toString({beside:Identifier}) AS beside,
    quantilesTDigestMerge(0.5, 0.95, 0.99)(u.latency) AS latency,
    quantilesTDigestMerge(0.5, 0.95, 0.99)(u.ttfb) AS first_byte
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
  AND u.outcome = 'complete' AND u.status < 400 AND u.cache != 'HIT'
GROUP BY name, beside;
