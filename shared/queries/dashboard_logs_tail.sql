-- Which requests were booked since `arrived`, whenever they began? At most `limit`, newest first, as dashboard_logs_page.sql tells
-- them. A long request is booked after a short one that began later: hence by the time of storing. `arrived` tells when that was.
SELECT
    -- include request_row.sql
    r.latency_ms AS latency_ms,
    toString(r.ingested_at) AS arrived
FROM metrion.requests AS r
WHERE r.started_at >= {since:DateTime64(6, 'UTC')} AND r.started_at < {until:DateTime64(6, 'UTC')}
  -- the hour is in the primary key, the time of storing is not
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
LIMIT {limit:UInt32};
