-- Days before `due` to compute: those from `done` on, and those with requests stored since the last pass, which began at `since`. An insert
-- is visible within three minutes. Requests before `rows_from` may be deleted already.
SELECT DISTINCT toStartOfDay(toDateTime(started_at, 'UTC')) AS day
FROM metrion.response_events
WHERE started_at < {due:DateTime('UTC')} AND started_at >= greatest({done:DateTime('UTC')}, {rows_from:DateTime('UTC')})
UNION DISTINCT
SELECT DISTINCT toStartOfDay(toDateTime(started_at, 'UTC')) AS day
FROM metrion.response_events
WHERE started_at < {due:DateTime('UTC')} AND started_at >= {rows_from:DateTime('UTC')}
  AND ingested_at > {since:DateTime64(3, 'UTC')} - INTERVAL 3 MINUTE;
