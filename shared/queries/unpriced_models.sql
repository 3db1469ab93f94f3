-- Which requests have no known cost, and why?
-- One row per account, provider, model and reason. `share_percent` is their share of the account's requests in the period.
-- Interrupted requests and broken streams are included: what the provider charges for them cannot be known. A model without a
-- price can be given one (METRION_PRICES_FILE) and its requests repriced (metrion reprice).
SELECT
    account,
    provider,
    r.model_name AS model,
    cost_reason AS reason,
    countIf(cost IS NULL) AS requests,
    round(100 * requests / sum(count()) OVER (PARTITION BY account), 1) AS share_percent,
    sumIf(r.input_tokens, cost IS NULL) AS input_tokens,
    sumIf(r.output_tokens, cost IS NULL) AS output_tokens,
    minIf(started_at, cost IS NULL) AS first_at,
    maxIf(started_at, cost IS NULL) AS last_at
FROM metrion.requests AS r
WHERE started_at >= {since:DateTime64(6, 'UTC')} AND started_at < {until:DateTime64(6, 'UTC')}
  AND ({account:String} = '' OR account = {account:String})
GROUP BY account, provider, model, reason
QUALIFY requests > 0
ORDER BY account, requests DESC, provider, model, reason;
