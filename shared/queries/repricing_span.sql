-- First and last request to reprice, so that a long period without requests need not be scanned day by day.
SELECT count() AS rows, min(started_at) AS first_at, max(started_at) AS last_at
FROM metrion.response_events
WHERE started_at >= {since:DateTime64(6, 'UTC')} AND started_at < {until:DateTime64(6, 'UTC')};
