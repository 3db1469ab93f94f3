-- Models with requests that have no cost because the price table lacks a price: how many of them wait, and since when.
SELECT
    provider,
    model,
    cost_reason AS reason,
    sum(requests) AS waiting,
    sum(coalesce(input_tokens, 0) + coalesce(output_tokens, 0)) AS tokens,
    min(bucket) AS first_at,
    max(last_at) AS newest_at
FROM metrion.usage_faults
WHERE NOT priced AND
    -- include price_missing.sql
GROUP BY provider, model, reason
ORDER BY waiting DESC, provider, model, reason
LIMIT 1000
SETTINGS max_threads = 2, max_execution_time = 60;
