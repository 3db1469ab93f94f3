-- Which requests are the first by `measure` (cost, tokens, latency), highest first, at most `limit` after `offset`? Only their keys:
-- dashboard_logs_rows.sql reads the rows. So the whole period is read in the few columns that decide. Requests without the measure come last.
-- `source`: metrion.requests, or response_events with all versions of each request. See services/dashboard/queries/sorted_logs.py.
SELECT
    r.id AS id,
    r.started_at AS started_at,
    r.cost AS cost,
    -- include request_measures.sql
FROM metrion.{source:Identifier} AS r
WHERE r.started_at >= {since:DateTime64(6, 'UTC')} AND r.started_at < {until:DateTime64(6, 'UTC')}
  -- include request_filters.sql
  -- include request_search.sql
ORDER BY {measure:Identifier} DESC NULLS LAST, started_at DESC, id DESC
LIMIT {limit:UInt32} OFFSET {offset:UInt32};
