SELECT class, toFloat64(sum(amount)) AS cost
FROM metrion.usage_totals
ARRAY JOIN mapKeys(cost_by_class) AS class, mapValues(cost_by_class) AS amount
WHERE $__timeFilter(bucket)
  AND $__conditionalAll(account IN (${account:singlequote}), $account)
  AND $__conditionalAll(provider IN (${provider:singlequote}), $provider)
GROUP BY class
ORDER BY cost DESC
