-- Models with requests without a price since `since`, because the price table has none for them or for a unit of what they did.
SELECT
    e.model_name AS subject,
    count() AS requests
FROM metrion.response_events AS e FINAL
WHERE e.started_at >= {since:DateTime64(3, 'UTC')} AND e.cost IS NULL
  AND
    -- include price_missing.sql
GROUP BY subject
ORDER BY requests DESC, subject
LIMIT 1000
SETTINGS max_threads = 2, max_execution_time = 60, do_not_merge_across_partitions_select_final = 1;
