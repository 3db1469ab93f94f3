-- What changed the cost from the period before? `panel`: each requester with a model ('movers'), the largest changes of known cost first, at
-- most `limit`; `groups` is the number of all. And each model ('by_model'). The period as far as it has come is compared with as much of the one
-- before. `unpriced` counts requests with unknown cost: their tokens are in none of the figures. See dashboard_pivot.sql.
SELECT
    if(grouping(p.requester) = 0, 'movers', 'by_model') AS panel,
    p.requester AS requester,
    p.provider AS provider,
    p.model AS model,
    ifNull(sumIf(p.cost, p.present), 0) AS cost_now,
    ifNull(sumIf(p.cost, NOT p.present), 0) AS cost_before,
    cost_now - cost_before AS change,
    sumIf(p.requests, p.present) AS requests_now,
    sumIf(p.requests, NOT p.present) AS requests_before,
    sumIf(p.unpriced, p.present) AS unpriced,
    sumIf(p.unpriced, NOT p.present) AS unpriced_before,
    sumIf(p.tokens, p.present) AS tokens_now,
    sumIf(p.tokens, NOT p.present) AS tokens_before,
    count() OVER (PARTITION BY panel) AS groups,
    row_number() OVER (PARTITION BY panel ORDER BY abs(change) DESC, requester, provider, model) AS place
FROM
(
    SELECT
        toString(u.requester) AS requester,
        toString(u.provider) AS provider,
        toString(u.model) AS model,
        u.bucket >= {since:DateTime64(6, 'UTC')} AS present,
        sum(u.cost) AS cost,
        sum(u.requests) AS requests,
        sum(u.unpriced) AS unpriced,
        sumIf(ifNull(u.input_tokens, 0) + ifNull(u.output_tokens, 0), u.priced) AS tokens
    FROM metrion.{source:Identifier} AS u
    -- include two_periods.sql
    GROUP BY requester, provider, model, present
) AS p
GROUP BY GROUPING SETS ((p.requester, p.provider, p.model), (p.provider, p.model))
HAVING requests_now + requests_before > 0
QUALIFY panel = 'by_model' OR place <= {limit:UInt32}
ORDER BY panel, place;
