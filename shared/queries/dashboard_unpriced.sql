-- Which requests have no cost, and why? One row per provider, model and reason, most frequent first. See dashboard_compared.sql.
SELECT
    u.provider AS provider,
    u.model AS name,
    u.cost_reason AS reason,
    sum(u.requests) AS requests,
    sum(u.input_tokens) AS input_tokens,
    sum(u.output_tokens) AS output_tokens
FROM metrion.{source:Identifier} AS u
WHERE u.bucket >= {since:DateTime64(6, 'UTC')} AND u.bucket < {until:DateTime64(6, 'UTC')}
  AND NOT u.priced
GROUP BY provider, name, reason
ORDER BY requests DESC, provider, name, reason
LIMIT {limit:UInt32};
