SELECT $__timeInterval(bucket) AS time,
    sum(hits) / nullIf(sumIf(requests, cache != ''), 0) AS hits
FROM metrion.usage_totals
WHERE $__timeFilter(bucket)
  AND $__conditionalAll(account IN (${account:singlequote}), $account)
  AND $__conditionalAll(provider IN (${provider:singlequote}), $provider)
GROUP BY time
ORDER BY time
