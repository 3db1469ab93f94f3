-- Which errors were there? One row a provider, status and error, the most frequent first.
SELECT
    r.provider AS provider,
    r.status AS status,
    r.outcome AS outcome,
    r.error_type AS error_type,
    count() AS errors,
    uniqExact(r.requester) AS requesters,
    max(r.started_at) AS last_seen
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
GROUP BY provider, status, outcome, error_type
ORDER BY errors DESC, last_seen DESC
LIMIT {limit:UInt32};
