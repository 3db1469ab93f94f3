-- Which requests did limits and budgets refuse? One row an account, token, requester, model and error, the most frequent first.
-- Providers use the same error types; only the gateway's own refusals have this cost_reason. See dashboard_compared.sql.
SELECT
    u.account AS account,
    u.token AS token,
    u.requester AS requester,
    u.model AS model,
    u.error_type AS error_type,
    sum(u.errors) AS errors,
    max(u.last_at) AS last_seen
FROM metrion.{source:Identifier} AS u
WHERE u.bucket >= {since:DateTime64(6, 'UTC')} AND u.bucket < {until:DateTime64(6, 'UTC')}
  AND u.error_type IN ('rate_limit_exceeded', 'budget_exceeded') AND u.cost_reason = 'refused'
GROUP BY account, token, requester, model, error_type
ORDER BY errors DESC, last_seen DESC
LIMIT {limit:UInt32};
