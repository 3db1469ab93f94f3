-- Buckets whose requests arrived or were repriced since the pass `refreshed`: the same condition by which the views `usage`
-- and `usage_totals` bypass the rollup. An index on ingested_at finds them, however old the buckets are.
SELECT DISTINCT toStartOfFifteenMinutes(toDateTime(started_at, 'UTC')) AS bucket
FROM metrion.response_events
WHERE ingested_at > {refreshed:DateTime64(3, 'UTC')} - INTERVAL 3 MINUTE AND started_at >= {rows_from:DateTime('UTC')};
