-- What sums of usage tell, of one request of response_events, read as `e`. A line a column: services/dashboard/queries/source_sql.py takes those it needs.
e.account AS account
toStartOfFifteenMinutes(toDateTime(e.started_at, 'UTC')) AS bucket
e.requester AS requester
e.token AS token
e.provider AS provider
if(e.model = '', e.model_requested, e.model) AS model
e.status AS status
e.outcome AS outcome
e.error_type AS error_type
e.cache AS cache
e.usage_source AS usage_source
e.cost IS NOT NULL AS priced
e.cost_reason AS cost_reason
toUInt64(1) AS requests
toUInt64(e.outcome NOT IN ('complete', 'client_closed') OR e.outcome = 'complete' AND (e.status >= 400 OR e.error_type != '')) AS errors
toUInt64(e.cache = 'HIT') AS hits
toUInt64(e.cache != '') AS cacheable
toUInt64(e.cost IS NULL) AS unpriced
toUInt64(e.cost IS NOT NULL AND e.usage_source = 'estimated') AS estimated
if(e.usage_source = 'estimated', e.cost, NULL) AS estimated_cost
e.input_tokens AS input_tokens
e.output_tokens AS output_tokens
e.cache_read_tokens AS cache_read_tokens
e.cache_write_tokens AS cache_write_tokens
e.reasoning_tokens AS reasoning_tokens
e.cost AS cost
e.cost_by_class AS cost_by_class
e.cost_saved AS cost_saved
toUInt64((e.outcome = 'complete' AND e.status < 400 AND e.cache != 'HIT')) AS answered
toUInt64(if((e.outcome = 'complete' AND e.status < 400 AND e.cache != 'HIT'), e.latency_ms, 0)) AS answered_ms
toUInt64((e.outcome = 'complete' AND e.status < 400 AND e.cache != 'HIT') AND e.ttfb_ms IS NOT NULL) AS first_bytes
toUInt64(if((e.outcome = 'complete' AND e.status < 400 AND e.cache != 'HIT'), ifNull(e.ttfb_ms, 0), 0)) AS first_byte_ms
toUInt64(e.cache != 'HIT' AND e.status BETWEEN 1 AND 399 AND NOT (e.outcome NOT IN ('complete', 'client_closed') OR e.outcome = 'complete' AND (e.status >= 400 OR e.error_type != ''))) AS ok
toUInt64(e.cache != 'HIT' AND e.status BETWEEN 1 AND 399 AND (e.outcome NOT IN ('complete', 'client_closed') OR e.outcome = 'complete' AND (e.status >= 400 OR e.error_type != ''))) AS broken
toUInt64(e.cache != 'HIT' AND e.status BETWEEN 400 AND 499) AS refused
toUInt64(e.cache != 'HIT' AND e.status >= 500) AS failed
toUInt64(e.status = 0) AS interrupted
map(toLowCardinality(if(e.model = '', e.model_requested, e.model)), toUInt64(1)) AS models
e.started_at AS last_at
