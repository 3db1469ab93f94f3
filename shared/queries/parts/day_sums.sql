-- Sums of metrion.usage_days and usage_session_days, in the order of day_figures.sql.
requests, errors, hits, unpriced, estimated, estimated_cost, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens,
reasoning_tokens, cost, cost_saved, answered, answered_ms, first_bytes, first_byte_ms
