-- Of requests that failed or have no known cost, read as `events`: what usage_faults_15m says of them.
account,
toStartOfFifteenMinutes(toDateTime(started_at, 'UTC')) AS bucket,
requester, token, provider,
toLowCardinality(if(events.model = '', model_requested, events.model)) AS model,
status, outcome, error_type, cache, usage_source,
CAST(events.cost IS NOT NULL, 'Bool') AS priced,
cost_reason,
count() AS requests,
sum(events.input_tokens) AS input_tokens,
sum(events.output_tokens) AS output_tokens,
max(events.started_at) AS last_at
