-- Measures of each requester ('' if none was named) compared with the period before, ordered by `measure`.
-- `trend` is the cost per bucket. `cost_now` and `cost_before` compare like with like: this
-- period as far as it has come, and an equally long time of the one before. `groups` is their number. Only names that contain `search`, in upper or
-- lower case. See dashboard_compared.sql.
SELECT
    p.requester AS requester,
    ifNull(sumIf(p.cost, present), 0) AS cost_now,
    ifNull(sumIf(p.cost, NOT present), 0) AS cost_before,
    cost_now - cost_before AS change,
    sumMapIf(map(p.slot, ifNull(p.cost, 0)), present) AS trend,
    count() OVER () AS groups,
    -- measures: outer if present
FROM
(
    SELECT
        u.requester AS requester,
        u.bucket >= {since:DateTime64(6, 'UTC')} AS present,
        -- include slot.sql
        -- measures: inner
    FROM metrion.{source:Identifier} AS u
    -- include compared_periods.sql
      AND ({search:String} = '' OR positionCaseInsensitiveUTF8(u.requester, {search:String}) > 0)
    GROUP BY requester, present, slot
) AS p
GROUP BY requester
HAVING requests > 0
ORDER BY {measure:Identifier} DESC NULLS LAST, requests DESC, requester
LIMIT {limit:UInt32} OFFSET {offset:UInt32};
