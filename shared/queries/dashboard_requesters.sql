-- Who cost what, against the period before? One row a requester ('' named none), ordered by `measure`.
-- `trend` has the cost by bucket. `cost_now` and `cost_before` compare like with like: what passed
-- of this period until `cut`, and as much of the one before. `groups` says how many there are. See dashboard_sums.sql.
SELECT
    p.requester AS requester,
    sumIf(p.requests, present) AS requests,
    sumIf(p.errors, present) AS errors,
    sumIf(p.hits, present) AS hits,
    sumIf(p.tokens, present) AS tokens,
    sumIf(p.cost, present) AS cost,
    sumIf(p.unpriced, present) AS unpriced,
    sumIf(p.estimated, present) AS estimated,
    sumIf(p.saved, present) AS saved,
    sumIf(p.answered_ms, present) / nullIf(sumIf(p.answered, present), 0) AS latency_mean,
    ifNull(sumIf(p.passed_cost, present), 0) AS cost_now,
    ifNull(sumIf(p.cost, NOT present), 0) AS cost_before,
    cost_now - cost_before AS change,
    sumMapIf(map(p.slot, ifNull(p.cost, 0)), present) AS trend,
    maxIf(p.last_at, present) AS last_seen,
    count() OVER () AS groups
FROM
(
    SELECT
        u.requester AS requester,
        u.bucket >= {since:DateTime64(6, 'UTC')} AS present,
        -- include slot.sql
        sum(u.requests) AS requests,
        sum(u.errors) AS errors,
        sum(u.hits) AS hits,
        ifNull(sum(u.input_tokens), 0) + ifNull(sum(u.output_tokens), 0) AS tokens,
        sum(u.cost) AS cost,
        sum(u.unpriced) AS unpriced,
        sum(u.estimated) AS estimated,
        sum(u.cost_saved) AS saved,
        sum(u.answered_ms) AS answered_ms,
        sum(u.answered) AS answered,
        sumIf(u.cost, u.bucket < {cut:DateTime64(6, 'UTC')}) AS passed_cost,
        max(u.last_at) AS last_at
    FROM metrion.{source:Identifier} AS u
    -- include compared_periods.sql
    GROUP BY requester, present, slot
) AS p
GROUP BY requester
HAVING requests > 0
ORDER BY {measure:Identifier} DESC NULLS LAST, requests DESC, requester
LIMIT {limit:UInt32} OFFSET {offset:UInt32};
