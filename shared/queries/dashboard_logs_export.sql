-- The same walk as dashboard_logs_page.sql, with all that an export tells of a request.
SELECT
    r.id AS id,
    r.started_at AS started_at,
    r.account AS account,
    r.token AS token,
    r.requester AS requester,
    r.provider AS provider,
    r.endpoint AS endpoint,
    r.model_requested AS model_requested,
    r.model AS model,
    r.stream AS stream,
    r.status AS status,
    r.outcome AS outcome,
    r.error_type AS error_type,
    r.error_message AS error_message,
    r.cache AS cache,
    r.input_tokens AS input_tokens,
    r.output_tokens AS output_tokens,
    r.cache_read_tokens AS cache_read_tokens,
    r.cache_write_tokens AS cache_write_tokens,
    r.reasoning_tokens AS reasoning_tokens,
    r.usage_source AS usage_source,
    r.cost AS cost,
    r.cost_source AS cost_source,
    r.cost_reason AS cost_reason,
    r.cost_saved AS cost_saved,
    r.latency_ms AS latency_ms,
    r.ttfb_ms AS ttfb_ms,
    r.provider_request_id AS provider_request_id,
    r.metadata AS metadata
FROM metrion.requests AS r
WHERE r.started_at >= {since:DateTime64(6, 'UTC')} AND r.started_at < {until:DateTime64(6, 'UTC')}
  AND if({ascending:UInt8} = 1,
      (r.started_at, r.id) > ({edge:DateTime64(6, 'UTC')}, {edge_id:UUID}),
      (r.started_at, r.id) < ({edge:DateTime64(6, 'UTC')}, {edge_id:UUID}))
  AND ({account:String} = '' OR r.account = {account:String})
  AND ({provider:String} = '' OR r.provider = {provider:String})
  AND ({any_model:UInt8} OR if(r.model = '', r.model_requested, r.model) = {model:String})
  AND ({any_token:UInt8} OR r.token = {token:String})
  AND ({any_requester:UInt8} OR r.requester = {requester:String})
  AND r.status BETWEEN {status_from:UInt16} AND {status_to:UInt16}
  AND ({cache:String} = '' OR (r.cache = 'HIT') = ({cache:String} = 'yes'))
  AND ({cost:String} = '' OR if({cost:String} = 'unknown', r.cost IS NULL, r.cost IS NOT NULL AND r.usage_source = 'estimated'))
  AND ({meta_key:String} = '' OR mapContains(r.metadata, {meta_key:String}) AND r.metadata[{meta_key:String}] = {meta_value:String})
  AND ({search:String} = ''
      OR positionCaseInsensitiveUTF8(r.model, {search:String}) > 0
      OR positionCaseInsensitiveUTF8(r.model_requested, {search:String}) > 0
      OR positionCaseInsensitiveUTF8(r.requester, {search:String}) > 0
      OR positionCaseInsensitiveUTF8(r.error_type, {search:String}) > 0
      OR positionCaseInsensitiveUTF8(r.error_message, {search:String}) > 0)
ORDER BY
    if({ascending:UInt8} = 1, r.started_at, NULL), if({ascending:UInt8} = 1, r.id, NULL),
    r.started_at DESC, r.id DESC
LIMIT {limit:UInt32};
