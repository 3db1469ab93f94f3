SELECT
    account, if(requester = '', '(none)', requester) AS requester, sum(u.requests) AS requests,
    toFloat64(sum(u.cost)) AS "cost, USD", sum(u.unpriced) AS unpriced,
    sum(u.input_tokens) AS "input tokens", sum(u.output_tokens) AS "output tokens",
    round(sum(u.errors) / sum(u.requests), 4) AS "error rate"
FROM metrion.usage AS u
WHERE $__timeFilter(bucket)
  AND $__conditionalAll(account IN (${account:singlequote}), $account)
  AND $__conditionalAll(provider IN (${provider:singlequote}), $provider)
GROUP BY account, requester
ORDER BY sum(u.cost) DESC NULLS LAST, requests DESC
LIMIT 100
