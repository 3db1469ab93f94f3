-- Which requests have no known cost, and why? Their number by account, provider, model and reason. Like unpriced_models.sql, without what reads
-- the other requests, too.
SELECT
    r.account AS account,
    r.provider AS provider,
    r.model_name AS model,
    r.cost_reason AS reason,
    count() AS requests
FROM metrion.response_events AS r FINAL
PREWHERE r.started_at >= {since:DateTime64(6, 'UTC')} AND r.started_at < {until:DateTime64(6, 'UTC')}
WHERE r.cost IS NULL
GROUP BY account, provider, model, reason
ORDER BY account, requests DESC, provider, model, reason
SETTINGS do_not_merge_across_partitions_select_final = 1;
