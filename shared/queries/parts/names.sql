-- The names of what sums.sql sums up, in its order.
requests, errors, unpriced, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, cost,
cost_by_class, cost_saved, saved_input_tokens, saved_output_tokens, latency_count, latency_sum, ttfb_count, ttfb_sum, last_at
