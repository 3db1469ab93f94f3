-- Which requests come next in the list? At most `limit` between `since` (included) and `until` (excluded) that come after the key
-- (`edge`, `edge_id`): older ones, newest first, with `ascending` = 0; newer ones, oldest first, with 1.
-- FINAL merges everything in the period before it can sort it, so the period must be short: services/dashboard/queries/log_pages.py
-- chooses it. `search` is text, not a pattern. Names are shortened to what a row can show.
SELECT
    -- include request_row.sql
    -- include request_more.sql
    r.latency_ms AS latency_ms
FROM metrion.response_events AS r FINAL
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
LIMIT {limit:UInt32}
SETTINGS do_not_merge_across_partitions_select_final = 1;
