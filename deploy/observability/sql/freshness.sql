SELECT $__timeInterval(started_at) AS time, toString(gateway) AS gateway,
    quantile(0.95)(dateDiff('millisecond', started_at + toIntervalMillisecond(latency_ms), ingested_at)) AS p95
FROM metrion.requests
WHERE $__timeFilter(started_at)
  AND $__conditionalAll(account IN (${account:singlequote}), $account)
  AND $__conditionalAll(provider IN (${provider:singlequote}), $provider)
  AND outcome != 'interrupted' AND version = 2
GROUP BY time, gateway
ORDER BY time
