-- The latest requests that failed, of a short span: services/dashboard/walk.py goes back from one to the next.
SELECT
    r.id AS id,
    r.started_at AS started_at,
    r.account AS account,
    r.requester AS requester,
    r.token AS token,
    r.provider AS provider,
    if(r.model = '', r.model_requested, r.model) AS model_name,
    r.status AS status,
    r.outcome AS outcome,
    r.error_type AS error_type,
    left(r.error_message, 500) AS error_message,
    r.latency_ms AS latency_ms
FROM metrion.requests AS r
WHERE r.started_at >= {since:DateTime64(6, 'UTC')} AND r.started_at < {until:DateTime64(6, 'UTC')}
  AND ({account:String} = '' OR r.account = {account:String})
  AND ({provider:String} = '' OR r.provider = {provider:String})
  AND ({any_model:UInt8} OR if(r.model = '', r.model_requested, r.model) = {model:String})
  AND ({any_token:UInt8} OR r.token = {token:String})
  AND ({any_requester:UInt8} OR r.requester = {requester:String})
  AND r.status BETWEEN {status_from:UInt16} AND {status_to:UInt16}
  AND ({cache:String} = '' OR (r.cache = 'HIT') = ({cache:String} = 'yes'))
  AND ({cost:String} = '' OR if({cost:String} = 'unknown', r.cost IS NULL, r.cost IS NOT NULL AND r.usage_source = 'estimated'))
  AND ({meta_key:String} = '' OR mapContains(r.metadata, {meta_key:String}) AND r.metadata[{meta_key:String}] = {meta_value:String})
  AND (r.outcome NOT IN ('complete', 'client_closed') OR (r.outcome = 'complete' AND (r.status >= 400 OR r.error_type != '')))
ORDER BY r.started_at DESC, r.id DESC
LIMIT {limit:UInt32};
