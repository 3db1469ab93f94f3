SELECT $__timeInterval(bucket) AS time, toString(model) AS model,
    toFloat64(quantilesTDigestMerge(0.5, 0.95, 0.99)(ttfb)[2]) AS p95
FROM metrion.usage_totals
WHERE $__timeFilter(bucket)
  AND $__conditionalAll(account IN (${account:singlequote}), $account)
  AND $__conditionalAll(provider IN (${provider:singlequote}), $provider)
  AND stream AND first_bytes > 0
GROUP BY time, model
ORDER BY time
