-- The same from a day of usage_days, read as `q`. Quotes in names are escaped, so the simple functions cannot take a value for a key; of a
-- dictionary they are evaluated once for each different text, unlike the others.
q.account AS account
q.bucket AS bucket
q.requester AS requester
q.token AS token
q.provider AS provider
q.model AS model
q.endpoint AS endpoint
q.status AS status
q.outcome AS outcome
q.client AS client
q.agent AS agent
q.billing AS billing
simpleJSONHas(q.metadata, {meta_key:String}) AS has_property
simpleJSONExtractString(q.metadata, {meta_key:String}) AS property
simpleJSONExtractString(q.metadata, {row_key:String}) AS row_property
simpleJSONExtractString(q.metadata, {column_key:String}) AS column_property
q.is_priced AS priced
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
q.cost_saved AS cost_saved
q.answered AS answered
q.answered_ms AS answered_ms
q.first_bytes AS first_bytes
q.first_byte_ms AS first_byte_ms
