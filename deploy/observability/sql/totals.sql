SELECT
    sum(requests) AS requests,
    toFloat64(sum(cost)) AS "cost, USD",
    sum(unpriced) AS "requests of unknown cost",
    toFloat64(sum(cost_saved)) AS "saved by the cache, USD",
    sum(input_tokens) AS "input tokens",
    sum(output_tokens) AS "output tokens",
    sum(errors) AS errors
FROM metrion.usage_totals
WHERE $__timeFilter(bucket)
  AND $__conditionalAll(account IN (${account:singlequote}), $account)
  AND $__conditionalAll(provider IN (${provider:singlequote}), $provider)
