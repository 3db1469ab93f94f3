-- What requests of subscriptions would have cost at API prices: it is no part of any cost. `unpriced` counts those whose price is unknown.
SELECT
    count() AS requests,
    sum(r.cost_equivalent) AS equivalent,
    countIf(r.cost_equivalent IS NULL) AS unpriced
FROM metrion.response_events AS r FINAL
PREWHERE r.billing = 'subscription'
    AND r.started_at >= {since:DateTime64(6, 'UTC')} AND r.started_at < {until:DateTime64(6, 'UTC')}
WHERE true
  -- include request_filters.sql
SETTINGS do_not_merge_across_partitions_select_final = 1;
