-- Which requests were stored since `arrived`, whenever they started? At most `limit`, newest first, with the columns of
-- dashboard_logs_page.sql. By storing time, since a long request is stored after a short one that started later. `arrived` is that time.
SELECT
    -- include request_row.sql
    -- include request_more.sql
    r.latency_ms AS latency_ms,
    toString(r.ingested_at) AS arrived
FROM metrion.response_events AS r FINAL
WHERE r.started_at >= {since:DateTime64(6, 'UTC')} AND r.started_at < {until:DateTime64(6, 'UTC')}
  -- the hour is in the primary key, the storing time is not
  AND toStartOfHour(r.started_at) IN
  (
      SELECT toStartOfHour(stored.started_at) FROM metrion.response_events AS stored
      WHERE stored.ingested_at > {arrived:DateTime64(3, 'UTC')}
        AND stored.started_at >= {since:DateTime64(6, 'UTC')} AND stored.started_at < {until:DateTime64(6, 'UTC')}
        AND ({account:String} = '' OR stored.account = {account:String})
  )
  AND r.ingested_at > {arrived:DateTime64(3, 'UTC')}
  -- include request_filters.sql
  -- include request_search.sql
ORDER BY r.started_at DESC, r.id DESC
LIMIT {limit:UInt32}
SETTINGS do_not_merge_across_partitions_select_final = 1;
