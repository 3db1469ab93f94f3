SELECT $__timeInterval(started_at) AS time, toString(model_name) AS name,
    median(output_tokens / (latency_ms - ttfb_ms) * 1000) AS "tokens per second"
FROM metrion.requests AS r
WHERE $__timeFilter(started_at)
  AND $__conditionalAll(account IN (${account:singlequote}), $account)
  AND $__conditionalAll(provider IN (${provider:singlequote}), $provider)
  AND stream AND is_answered AND output_tokens > 20
  AND latency_ms > ttfb_ms + 50
GROUP BY time, name
ORDER BY time
