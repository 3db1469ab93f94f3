-- The same of a quarter of an hour of usage_15m or usage_totals_15m, read as `q`.
q.account AS account
q.bucket AS bucket
q.requester AS requester
q.token AS token
q.provider AS provider
q.model AS model
q.status AS status
q.outcome AS outcome
q.cache AS cache
q.usage_source AS usage_source
q.priced AS priced
q.requests AS requests
q.errors AS errors
q.unpriced AS unpriced
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
if(q.cache = 'HIT', q.requests, 0) AS hits
if(q.cache != '', q.requests, 0) AS cacheable
if(q.priced AND q.usage_source = 'estimated', q.requests, 0) AS estimated
if(q.usage_source = 'estimated', q.cost, NULL) AS estimated_cost
if((q.outcome = 'complete' AND q.status < 400 AND q.cache != 'HIT'), q.latency_count, 0) AS answered
if((q.outcome = 'complete' AND q.status < 400 AND q.cache != 'HIT'), q.latency_sum, 0) AS answered_ms
if((q.outcome = 'complete' AND q.status < 400 AND q.cache != 'HIT'), q.ttfb_count, 0) AS first_bytes
if((q.outcome = 'complete' AND q.status < 400 AND q.cache != 'HIT'), q.ttfb_sum, 0) AS first_byte_ms
if(q.cache != 'HIT' AND q.status BETWEEN 1 AND 399, toUInt64(q.requests - q.errors), 0) AS ok
if(q.cache != 'HIT' AND q.status BETWEEN 1 AND 399, q.errors, 0) AS broken
if(q.cache != 'HIT' AND q.status BETWEEN 400 AND 499, q.requests, 0) AS refused
if(q.cache != 'HIT' AND q.status >= 500, q.requests, 0) AS failed
if(q.status = 0, q.requests, 0) AS interrupted
map(q.model, q.requests) AS models
q.last_at AS last_at
