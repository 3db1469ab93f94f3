-- Which requests are the first by `measure` (cost, tokens, latency), highest first, at most `limit` after `offset`? Only their keys:
-- dashboard_logs_rows.sql reads the rows. So the whole period is read in the few columns that decide. Requests without the measure come last.
-- Tokens are those that the list shows: of a cache hit those that it saved. An interrupted request has no latency.
SELECT
    r.id AS id,
    r.started_at AS started_at,
    r.cost AS cost,
    if(r.is_cache_hit, r.saved_input_tokens + r.saved_output_tokens, r.input_tokens + r.output_tokens) AS tokens,
    if(r.outcome = 'interrupted', NULL, r.latency_ms) AS latency
FROM metrion.requests AS r
WHERE r.started_at >= {since:DateTime64(6, 'UTC')} AND r.started_at < {until:DateTime64(6, 'UTC')}
  -- include request_filters.sql
  -- include request_search.sql
ORDER BY {measure:Identifier} DESC NULLS LAST, started_at DESC, id DESC
LIMIT {limit:UInt32} OFFSET {offset:UInt32};
