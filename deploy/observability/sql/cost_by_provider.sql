SELECT $__timeInterval(bucket) AS time, toString(provider) AS provider, toFloat64(sum(cost)) AS cost
FROM metrion.usage_totals
WHERE $__timeFilter(bucket)
  AND $__conditionalAll(account IN (${account:singlequote}), $account)
  AND $__conditionalAll(provider IN (${provider:singlequote}), $provider)
GROUP BY time, provider
ORDER BY time
