WITH dearest AS
(
    SELECT model
    FROM metrion.usage_totals
    WHERE $__timeFilter(bucket)
  AND $__conditionalAll(account IN (${account:singlequote}), $account)
  AND $__conditionalAll(provider IN (${provider:singlequote}), $provider)
    GROUP BY model
    ORDER BY sum(cost) DESC NULLS LAST
    LIMIT 8
)
SELECT $__timeInterval(bucket) AS time, if(model IN (SELECT model FROM dearest), toString(model), 'other') AS name,
    toFloat64(sum(cost)) AS cost
FROM metrion.usage_totals
WHERE $__timeFilter(bucket)
  AND $__conditionalAll(account IN (${account:singlequote}), $account)
  AND $__conditionalAll(provider IN (${provider:singlequote}), $provider)
GROUP BY time, name
ORDER BY time
