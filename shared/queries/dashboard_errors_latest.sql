-- The latest failed requests of a short span: services/dashboard/queries/log_pages.py goes back span by span.
SELECT
    r.id AS id,
    r.started_at AS started_at,
    r.account AS account,
    r.requester AS requester,
    r.token AS token,
    r.provider AS provider,
    r.model_name AS model_name,
    r.status AS status,
    r.outcome AS outcome,
    r.error_type AS error_type,
    left(r.error_message, 500) AS error_message,
    r.latency_ms AS latency_ms
FROM metrion.response_events AS r FINAL
WHERE r.started_at >= {since:DateTime64(6, 'UTC')} AND r.started_at < {until:DateTime64(6, 'UTC')}
  -- include request_hours.sql
  -- include request_filters.sql
  AND r.is_error
ORDER BY r.started_at DESC, r.id DESC
LIMIT {limit:UInt32}
SETTINGS do_not_merge_across_partitions_select_final = 1;
