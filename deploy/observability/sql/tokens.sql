SELECT
    $__timeInterval(bucket) AS time,
    sum(input_tokens) - sum(cache_read_tokens) AS "input, not cached",
    sum(cache_read_tokens) AS "input, cached by the provider",
    sum(output_tokens) AS output
FROM metrion.usage_totals
WHERE $__timeFilter(bucket)
  AND $__conditionalAll(account IN (${account:singlequote}), $account)
  AND $__conditionalAll(provider IN (${provider:singlequote}), $provider)
GROUP BY time
ORDER BY time
