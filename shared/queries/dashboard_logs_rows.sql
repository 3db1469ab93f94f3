-- The rows of the list with these `ids`, if the filters select them, which start in these `hours` and in the period, in any order. See dashboard_logs_sorted.sql.
-- All versions of a request agree on the conditions in PREWHERE, so that the other columns are read of these requests only.
SELECT
    -- include request_row.sql
    -- include request_more.sql
    r.latency_ms AS latency_ms,
    -- include request_measures.sql
FROM metrion.response_events AS r FINAL
PREWHERE r.started_at >= {since:DateTime64(6, 'UTC')} AND r.started_at < {until:DateTime64(6, 'UTC')}
  AND ({account:String} = '' OR r.account = {account:String})
  -- include request_hours.sql
  AND r.id IN {ids:Array(UUID)}
WHERE true
  -- include request_filters.sql
  -- include request_search.sql
SETTINGS do_not_merge_across_partitions_select_final = 1;
