-- Summands of usage from one request of response_events, read as `e`. One line per column: services/dashboard/queries/source_sql.py picks lines.
-- A quarter hour that a comparison ends in is two buckets: the second one begins at `split`.
e.account AS account
if(e.started_at >= {split:DateTime('UTC')} AND e.started_at < {split_until:DateTime('UTC')}, {split:DateTime('UTC')}, toStartOfFifteenMinutes(toDateTime(e.started_at, 'UTC'))) AS bucket
e.requester AS requester
e.token AS token
e.provider AS provider
e.model_name AS model
e.status AS status
e.outcome AS outcome
e.error_type AS error_type
e.endpoint AS endpoint
e.connection AS connection
e.client AS client
e.agent AS agent
e.session AS session
e.billing AS billing
e.source AS source
mapContains(e.metadata, {meta_key:String}) AS has_property
e.metadata[{meta_key:String}] AS property
e.metadata[{row_key:String}] AS row_property
e.metadata[{column_key:String}] AS column_property
e.cache AS cache
if(e.is_estimated AND NOT e.is_imported, 'estimated', e.usage_source) AS usage_source
e.cost IS NOT NULL AS priced
e.cost_reason AS cost_reason
toUInt64(1) AS requests
toUInt64(e.is_error) AS errors
toUInt64(e.is_cache_hit) AS hits
toUInt64(e.cache != '') AS cacheable
toUInt64(e.cost IS NULL) AS unpriced
toUInt64(e.is_estimated) AS estimated
if(e.is_estimated, e.cost, NULL) AS estimated_cost
e.input_tokens AS input_tokens
e.output_tokens AS output_tokens
e.cache_read_tokens AS cache_read_tokens
e.cache_write_tokens AS cache_write_tokens
e.reasoning_tokens AS reasoning_tokens
e.cost AS cost
e.cost_by_class AS cost_by_class
e.cost_saved AS cost_saved
toUInt64(e.is_answered) AS answered
toUInt64(ifNull(e.answered_latency_ms, 0)) AS answered_ms
toUInt64(e.answered_ttfb_ms IS NOT NULL) AS first_bytes
toUInt64(ifNull(e.answered_ttfb_ms, 0)) AS first_byte_ms
toUInt64(NOT e.is_cache_hit AND e.status BETWEEN 1 AND 399 AND NOT e.is_error) AS ok
toUInt64(NOT e.is_cache_hit AND e.status BETWEEN 1 AND 399 AND e.is_error) AS broken
toUInt64(NOT e.is_cache_hit AND e.status BETWEEN 400 AND 499) AS refused
toUInt64(NOT e.is_cache_hit AND e.status >= 500) AS failed
toUInt64(e.status = 0) AS interrupted
map(toLowCardinality(e.model_name), toUInt64(1)) AS models
e.started_at AS last_at
if(e.is_cache_hit, e.saved_input_tokens + e.saved_output_tokens, e.input_tokens + e.output_tokens) AS listed_tokens
if(e.outcome = 'interrupted', NULL, e.latency_ms) AS listed_latency_ms
e.cost_equivalent AS equivalent
toUInt64(if(e.input_tokens IS NULL, 0, e.cache_read_tokens)) AS known_cache_read
e.started_at AS first_at
e.started_at + toIntervalMillisecond(e.latency_ms) AS ended_at
if(e.model_name = '', [], [e.model_name]) AS model_names
