-- Sums of faults.sql, in its order.
requests, errors, hits, estimated, input_tokens, output_tokens, last_at
