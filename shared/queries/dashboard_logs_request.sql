-- Everything known about one request. `since` and `until` (excluded) limit the search; no row if it belongs to another account.
SELECT
    r.id AS id, r.started_at AS started_at, r.account AS account, r.token AS token, r.requester AS requester,
    r.metadata AS metadata, r.client AS client, r.client_version AS client_version, r.agent AS agent, r.session AS session, r.billing AS billing, r.source AS source, r.connection AS connection, r.turn AS turn,
    r.cost_equivalent AS cost_equivalent, r.provider AS provider, r.endpoint AS endpoint, r.model_requested AS model_requested,
    r.model AS model, r.model_name AS model_name, r.stream AS stream, r.gateway AS gateway, r.status AS status, r.outcome AS outcome,
    r.error_type AS error_type, r.error_message AS error_message, r.provider_request_id AS provider_request_id,
    r.latency_ms AS latency_ms, r.ttfb_ms AS ttfb_ms, r.request_bytes AS request_bytes, r.response_bytes AS response_bytes,
    r.cache AS cache, r.input_tokens AS input_tokens, r.output_tokens AS output_tokens,
    r.cache_read_tokens AS cache_read_tokens, r.cache_write_tokens AS cache_write_tokens,
    r.cache_write_1h_tokens AS cache_write_1h_tokens, r.reasoning_tokens AS reasoning_tokens,
    r.audio_tokens AS audio_tokens, r.image_tokens AS image_tokens, r.service_tier AS service_tier,
    r.usage_source AS usage_source, r.usage_raw AS usage_raw, r.cost AS cost, r.cost_by_class AS cost_by_class,
    r.unit_prices AS unit_prices, r.cost_source AS cost_source, r.cost_reason AS cost_reason, r.cost_saved AS cost_saved,
    r.saved_input_tokens AS saved_input_tokens, r.saved_output_tokens AS saved_output_tokens,
    r.price_version AS price_version, r.is_error AS is_error, r.is_cache_hit AS is_cache_hit, r.is_estimated AS is_estimated, r.is_answered AS is_answered, r.version AS version, r.note AS note
FROM metrion.response_events AS r FINAL
WHERE r.id = {id:UUID}
  AND r.started_at >= {since:DateTime64(6, 'UTC')} AND r.started_at < {until:DateTime64(6, 'UTC')}
  AND ({account:String} = '' OR r.account = {account:String})
LIMIT 1
SETTINGS do_not_merge_across_partitions_select_final = 1;
