-- How many requesters were there, by bucket and in all? As in dashboard_sums.sql.
SELECT
    -- include compared_whole.sql
    uniqExactMerge(p.requesters) AS requesters,
    sum(p.requests) AS requests
FROM
(
    WITH toDateTime({since:DateTime64(6, 'UTC')}, 'UTC') AS since, toDateTime({before_since:DateTime64(6, 'UTC')}, 'UTC') AS before_since
    SELECT
        -- include compared.sql
        uniqExactState(u.requester) AS requesters,
        sum(u.requests) AS requests
    FROM metrion.{source:Identifier} AS u
    -- include compared_periods.sql
    GROUP BY side, slot, passed
) AS p
-- include compared_groups.sql
;
