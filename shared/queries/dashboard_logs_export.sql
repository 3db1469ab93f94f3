-- The rows of dashboard_logs_page.sql, with all columns of an export.
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
    r.cache_write_1h_tokens AS cache_write_1h_tokens,
    r.reasoning_tokens AS reasoning_tokens,
    r.service_tier AS service_tier,
    r.usage_source AS usage_source,
    r.cost AS cost,
    r.cost_source AS cost_source,
    r.cost_reason AS cost_reason,
    r.cost_saved AS cost_saved,
    r.latency_ms AS latency_ms,
    r.ttfb_ms AS ttfb_ms,
    r.provider_request_id AS provider_request_id,
    r.metadata AS metadata,
    r.model_name AS model_name,
    r.is_error AS is_error,
    r.is_cache_hit AS is_cache_hit,
    r.is_estimated AS is_estimated,
    r.is_answered AS is_answered,
    r.client AS client,
    r.client_version AS client_version,
    r.agent AS agent,
    r.session AS session,
    r.billing AS billing,
    r.cost_equivalent AS cost_equivalent,
    r.source AS source,
    r.connection AS connection,
    r.turn AS turn
FROM metrion.response_events AS r FINAL
WHERE r.started_at >= {since:DateTime64(6, 'UTC')} AND r.started_at < {until:DateTime64(6, 'UTC')}
  AND if({ascending:UInt8} = 1,
      (r.started_at, r.id) > ({edge:DateTime64(6, 'UTC')}, {edge_id:UUID}),
      (r.started_at, r.id) < ({edge:DateTime64(6, 'UTC')}, {edge_id:UUID}))
  -- include request_hours.sql
  -- include request_filters.sql
  -- include request_search.sql
ORDER BY
    if({ascending:UInt8} = 1, r.started_at, NULL), if({ascending:UInt8} = 1, r.id, NULL),
    r.started_at DESC, r.id DESC
LIMIT {limit:UInt32}
SETTINGS do_not_merge_across_partitions_select_final = 1;
