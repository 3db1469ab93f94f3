-- The same from a quarter hour of usage_15m or usage_totals_15m, read as `q`.
q.account AS account
q.bucket AS bucket
q.requester AS requester
q.token AS token
q.provider AS provider
q.model AS model
q.status AS status
q.outcome AS outcome
q.cache AS cache
q.priced AS priced
q.requests AS requests
q.errors AS errors
q.hits AS hits
q.unpriced AS unpriced
q.estimated AS estimated
q.estimated_cost AS estimated_cost
q.input_tokens AS input_tokens
q.output_tokens AS output_tokens
q.cache_read_tokens AS cache_read_tokens
q.cache_write_tokens AS cache_write_tokens
q.reasoning_tokens AS reasoning_tokens
q.cost AS cost
q.cost_by_class AS cost_by_class
q.cost_saved AS cost_saved
q.latency AS latency
q.ttfb AS ttfb
q.answered AS answered
q.answered_ms AS answered_ms
q.first_bytes AS first_bytes
q.first_byte_ms AS first_byte_ms
q.last_at AS last_at
if(q.cache != '', q.requests, 0) AS cacheable
if(q.hits = 0 AND q.status BETWEEN 1 AND 399, toUInt64(q.requests - q.errors), 0) AS ok
if(q.hits = 0 AND q.status BETWEEN 1 AND 399, q.errors, 0) AS broken
if(q.hits = 0 AND q.status BETWEEN 400 AND 499, q.requests, 0) AS refused
if(q.hits = 0 AND q.status >= 500, q.requests, 0) AS failed
if(q.status = 0, q.requests, 0) AS interrupted
map(q.model, q.requests) AS models
q.usage_source AS usage_source
