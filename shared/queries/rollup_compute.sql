-- Compute whole buckets from their requests, as a pass that began at `at`.
INSERT INTO metrion.usage_15m
(
    account, bucket, requester, token, provider, model, stream, status, outcome, cache, usage_source, priced, requests,
    errors, unpriced, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, cost,
    cost_by_class, cost_saved, saved_input_tokens, saved_output_tokens, latency_count, latency_sum, latency, ttfb_count,
    ttfb_sum, ttfb, last_at, computed_at
)
SELECT
    account, bucket, requester, token, provider, model, stream, status, outcome, cache, usage_source, priced, requests,
    errors, unpriced, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, cost,
    cost_by_class, cost_saved, saved_input_tokens, saved_output_tokens, latency_count, latency_sum, latency, ttfb_count,
    ttfb_sum, ttfb, last_at, {at:DateTime64(3, 'UTC')}
FROM metrion.usage_live
WHERE hour IN (SELECT toStartOfHour(arrayJoin({buckets:Array(DateTime('UTC'))})))
  AND has({buckets:Array(DateTime('UTC'))}, bucket);
