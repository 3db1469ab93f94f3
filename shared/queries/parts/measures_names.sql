-- Names of the sums of measures.sql, in its order.
requests, errors, hits, cacheable, unpriced, estimated, estimated_cost, input_tokens, output_tokens, cache_read_tokens,
cache_write_tokens, reasoning_tokens, cost, cost_by_class, cost_saved, answered, answered_ms, first_bytes,
first_byte_ms, ok, broken, refused, failed, interrupted, last_at
