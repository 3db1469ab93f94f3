SELECT
    provider, model, sum(u.requests) AS requests, toFloat64(sum(u.cost)) AS "cost, USD", sum(u.unpriced) AS unpriced,
    sum(u.input_tokens) AS "input tokens", sum(u.output_tokens) AS "output tokens",
    if(sum(u.unpriced) = 0, toFloat64(sum(u.cost)) / nullIf(sum(u.input_tokens) + sum(u.output_tokens), 0) * 1e6, NULL)
        AS "USD per million tokens"
FROM metrion.usage_totals AS u
WHERE $__timeFilter(bucket)
  AND $__conditionalAll(account IN (${account:singlequote}), $account)
  AND $__conditionalAll(provider IN (${provider:singlequote}), $provider)
GROUP BY provider, model
ORDER BY sum(u.cost) DESC NULLS LAST, requests DESC
LIMIT 100
