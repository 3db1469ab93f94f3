-- Measures of each requester ('' if none was named), compared with the period before, and their number; `panel` says which.
--
-- `requesters`: one row each, ordered by `measure`, `limit` of them after `offset`; only names that contain `search`, in upper or lower case.
-- `trend` is the cost per bucket. `cost_now` and `cost_before` compare like with like: this period as far as it has come, and an equally long
-- time of the one before. `groups` is the number of all such rows.
--
-- `callers`: the number of `requesters`, whatever their names, in total and per bucket, as in dashboard_compared.sql.
SELECT
    if(grouping(p.requester) = 0, 'requesters', 'callers') AS panel,
    p.requester AS requester,
    -- include compared_whole.sql
    uniqExactIf(p.requester, p.requests > 0) AS requesters,
    ifNull(sumIf(p.cost, p.present), 0) AS cost_now,
    ifNull(sumIf(p.cost, NOT p.present AND p.compared), 0) AS cost_before,
    cost_now - cost_before AS change,
    sumMapIf(map(p.slot, ifNull(p.cost, 0)), p.present) AS trend,
    count() OVER (PARTITION BY panel) AS groups,
    row_number() OVER (PARTITION BY panel ORDER BY {measure:Identifier} DESC NULLS LAST, requests DESC, requester) AS place,
    -- measures: outer if present
FROM
(
    WITH
        toDateTime({since:DateTime64(6, 'UTC')}, 'UTC') AS since,
        toDateTime({before_since:DateTime64(6, 'UTC')}, 'UTC') AS before_since
    SELECT
        u.requester AS requester,
        -- include compared.sql
        -- measures: inner
    FROM metrion.{source:Identifier} AS u
    -- include compared_periods.sql
    GROUP BY requester, present, slot, compared
) AS p
GROUP BY GROUPING SETS ((p.requester), (p.present, p.slot), (p.present, p.compared))
HAVING if(
    panel = 'requesters',
    requests > 0 AND ({search:String} = '' OR positionCaseInsensitiveUTF8(p.requester, {search:String}) > 0),
    whole = 0 OR p.compared)
QUALIFY panel = 'callers' OR place > {offset:UInt32} AND place <= {offset:UInt32} + {limit:UInt32}
ORDER BY panel, whole, part, slot, place;
