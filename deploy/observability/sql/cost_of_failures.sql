SELECT $__timeInterval(bucket) AS time, toString(if(outcome = 'complete', 'error', outcome)) AS name,
    toFloat64(sum(cost)) AS cost
FROM metrion.usage_totals
WHERE $__timeFilter(bucket)
  AND $__conditionalAll(account IN (${account:singlequote}), $account)
  AND $__conditionalAll(provider IN (${provider:singlequote}), $provider)
  AND (outcome != 'complete' OR errors > 0)
GROUP BY time, name
ORDER BY time
