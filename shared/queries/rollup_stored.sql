-- Buckets from `since` to `until` (excluded) that have requests, or had some when they were last computed.
SELECT DISTINCT toStartOfFifteenMinutes(toDateTime(started_at, 'UTC')) AS bucket FROM metrion.response_events
WHERE started_at >= {since:DateTime('UTC')} AND started_at < {until:DateTime('UTC')}
UNION DISTINCT
SELECT DISTINCT bucket FROM metrion.usage_totals_15m
WHERE bucket >= {since:DateTime('UTC')} AND bucket < {until:DateTime('UTC')};
