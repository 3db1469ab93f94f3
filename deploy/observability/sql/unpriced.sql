SELECT provider, model_name AS name, cost_reason AS reason, count() AS requests,
    max(started_at) AS latest
FROM metrion.requests AS r
WHERE $__timeFilter(started_at)
  AND $__conditionalAll(account IN (${account:singlequote}), $account)
  AND $__conditionalAll(provider IN (${provider:singlequote}), $provider)
  AND cost IS NULL
GROUP BY provider, name, reason
ORDER BY requests DESC
LIMIT 100
