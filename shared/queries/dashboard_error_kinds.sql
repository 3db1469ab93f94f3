-- Which errors occurred? One row per provider, status and error, most frequent first. See dashboard_compared.sql.
SELECT
    u.provider AS provider,
    u.status AS status,
    u.outcome AS outcome,
    u.error_type AS error_type,
    sum(u.errors) AS errors,
    uniqExact(u.requester) AS requesters,
    max(u.last_at) AS last_seen
FROM metrion.{source:Identifier} AS u
WHERE u.bucket >= {since:DateTime64(6, 'UTC')} AND u.bucket < {until:DateTime64(6, 'UTC')}
  AND u.errors > 0
GROUP BY provider, status, outcome, error_type
ORDER BY errors DESC, last_seen DESC
LIMIT {limit:UInt32};
