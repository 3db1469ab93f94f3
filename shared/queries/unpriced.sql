-- Which models seen since `since` have requests of unknown cost, and why? `price_missing`: no price for the model or for one of the
-- units it used; the other reasons (a broken stream, a batch, unstated usage) have nothing to do with the price table.
SELECT
    provider,
    model_name,
    model_name AS model,
    cost_reason AS reason,
    -- include price_missing.sql
    AS price_missing,
    count() AS requests,
    sum(input_tokens) AS input_sum,
    sum(output_tokens) AS output_sum,
    max(started_at) AS last_seen
FROM metrion.requests
WHERE started_at >= {since:DateTime64(6, 'UTC')} AND cost IS NULL
GROUP BY provider, model_name, reason
ORDER BY price_missing DESC, requests DESC, provider, model_name, reason
LIMIT 1000;
