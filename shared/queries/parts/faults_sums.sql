-- What faults.sql sums up, in its order.
requests, errors, hits, estimated, input_tokens, output_tokens, last_at
