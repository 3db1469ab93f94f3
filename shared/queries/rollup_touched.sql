-- The buckets whose requests came, came late, came again or were priced again since the pass `refreshed`: the very condition
-- by which the views `usage` and `usage_totals` leave the rollup. Wherever the buckets lie, an index finds them by ingested_at.
SELECT DISTINCT toStartOfFifteenMinutes(toDateTime(started_at, 'UTC')) AS bucket
FROM metrion.response_events
WHERE ingested_at > {refreshed:DateTime64(3, 'UTC')} - INTERVAL 3 MINUTE AND started_at >= {rows_from:DateTime('UTC')};
