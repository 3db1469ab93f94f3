-- Names of the sums of sums.sql, in its order.
requests, errors, hits, unpriced, estimated, estimated_cost, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens,
reasoning_tokens, cost, cost_by_class, cost_saved, saved_input_tokens, saved_output_tokens, answered, answered_ms, first_bytes,
first_byte_ms, latency_count, latency_sum, ttfb_count, ttfb_sum, last_at
