-- Requests, read as `events`: the quarter hour, the key columns (except the requester), and the sums.
-- An assumed price makes the usage an estimate, as in rows of loggers that label both.
account,
toStartOfFifteenMinutes(toDateTime(started_at, 'UTC')) AS bucket,
token, provider,
toLowCardinality(events.model_name) AS model,
stream, status, outcome, cache,
toLowCardinality(if(events.is_estimated AND NOT events.is_imported, 'estimated', events.usage_source)) AS usage_source,
CAST(events.cost IS NOT NULL, 'Bool') AS priced,
quantilesTDigestStateIf(0.5, 0.95, 0.99)(latency_ms, events.is_answered) AS latency,
quantilesTDigestStateIf(0.5, 0.95, 0.99)(assumeNotNull(ttfb_ms), events.is_answered AND ttfb_ms IS NOT NULL) AS ttfb,
-- include sums.sql
