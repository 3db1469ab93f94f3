-- By what the list of requests can be sorted, besides `cost`. Tokens are those that the list shows: of a cache hit those that it saved. An
-- interrupted request has no latency.
if(r.is_cache_hit, r.saved_input_tokens + r.saved_output_tokens, r.input_tokens + r.output_tokens) AS tokens,
if(r.outcome = 'interrupted', NULL, r.latency_ms) AS latency
