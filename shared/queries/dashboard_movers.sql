-- Whose known cost changed most from the period before, with which model? The largest changes first, at most `limit`; `groups` is the number of
-- all, `change_of_all` their sum. The period as far as it has come is compared with as much of the one before. See dashboard_pivot.sql.
SELECT
    toString(u.requester) AS requester,
    toString(u.provider) AS provider,
    toString(u.model) AS model,
    ifNull(sumIf(u.cost, u.bucket >= {since:DateTime64(6, 'UTC')}), 0) AS cost_now,
    ifNull(sumIf(u.cost, u.bucket < {since:DateTime64(6, 'UTC')}), 0) AS cost_before,
    cost_now - cost_before AS change,
    sumIf(u.requests, u.bucket >= {since:DateTime64(6, 'UTC')}) AS requests_now,
    sumIf(u.requests, u.bucket < {since:DateTime64(6, 'UTC')}) AS requests_before,
    sumIf(u.unpriced, u.bucket >= {since:DateTime64(6, 'UTC')}) AS unpriced,
    sumIf(u.unpriced, u.bucket < {since:DateTime64(6, 'UTC')}) AS unpriced_before,
    count() OVER () AS groups,
    sum(change) OVER () AS change_of_all
FROM metrion.{source:Identifier} AS u
-- include two_periods.sql
GROUP BY requester, provider, model
HAVING requests_now + requests_before > 0
ORDER BY abs(change) DESC, requester, provider, model
LIMIT {limit:UInt32};
