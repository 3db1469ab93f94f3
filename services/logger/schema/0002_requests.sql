-- One row a request, whatever was delivered again or came late: the newest version of each.
CREATE OR REPLACE VIEW metrion.requests AS
SELECT
    id, account, token, requester, metadata, provider, endpoint, model_requested, model, stream, started_at, gateway,
    status, outcome, error_type, error_message, provider_request_id, latency_ms, ttfb_ms, request_bytes, response_bytes,
    cache, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, reasoning_tokens,
    audio_tokens, image_tokens, service_tier, usage_source, usage_raw, cost, cost_by_class, unit_prices, cost_source,
    cost_reason, cost_saved, saved_input_tokens, saved_output_tokens, price_version, version, ingested_at
FROM metrion.response_events FINAL
-- every version of a request bears the same started_at, so none lies in another month
SETTINGS do_not_merge_across_partitions_select_final = 1;
