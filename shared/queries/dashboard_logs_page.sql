-- Which requests come next in the list? At most `limit` of those between `since` (included) and `until` (excluded) that stand
-- after the key (`edge`, `edge_id`): older ones with `ascending` = 0, newest first; newer ones with 1, oldest first.
-- FINAL merges whatever the period holds before it can sort it, so the period has to be short: services/dashboard/queries/log_pages.py finds
-- out how short. `search` is text, not a pattern. Names are cut to what a row can show.
SELECT
    -- include request_row.sql
    r.latency_ms AS latency_ms
FROM metrion.requests AS r
WHERE r.started_at >= {since:DateTime64(6, 'UTC')} AND r.started_at < {until:DateTime64(6, 'UTC')}
  AND if({ascending:UInt8} = 1,
      (r.started_at, r.id) > ({edge:DateTime64(6, 'UTC')}, {edge_id:UUID}),
      (r.started_at, r.id) < ({edge:DateTime64(6, 'UTC')}, {edge_id:UUID}))
  -- include request_hours.sql
  -- include request_filters.sql
  -- include request_search.sql
ORDER BY
    if({ascending:UInt8} = 1, r.started_at, NULL), if({ascending:UInt8} = 1, r.id, NULL),
    r.started_at DESC, r.id DESC
LIMIT {limit:UInt32};
