-- Which keys of metadata do the requests of a period have? The most used first: to choose from, so nothing narrows them but the account. Of
-- days that usage_days has, whole days count; of the others every version of a request, since all have the same metadata. See dashboard_days.sql.
SELECT
    arrayJoin(names) AS key,
    sum(number) AS requests
FROM
(
    SELECT arrayDistinct(JSONExtractKeys(toString(q.metadata))) AS names, sum(q.requests) AS number
    FROM metrion.usage_days AS q
    WHERE q.bucket > {since:DateTime64(6, 'UTC')} - INTERVAL 1 DAY AND q.bucket < {until:DateTime64(6, 'UTC')}
      AND q.bucket >= {first_day:DateTime('UTC')} AND q.bucket < {until_day:DateTime('UTC')}
      AND ({account:String} = '' OR q.account = {account:String})
    GROUP BY q.metadata
    UNION ALL
    SELECT mapKeys(e.metadata) AS names, count() AS number
    FROM metrion.response_events AS e
    WHERE e.started_at >= {since:DateTime64(6, 'UTC')} AND e.started_at < {until:DateTime64(6, 'UTC')}
      AND (e.started_at >= {until_day:DateTime('UTC')} OR e.started_at < {first_day:DateTime('UTC')}
        OR toStartOfDay(toDateTime(e.started_at, 'UTC')) IN {touched_days:Array(DateTime('UTC'))})
      AND ({account:String} = '' OR e.account = {account:String})
    GROUP BY names
)
GROUP BY key
HAVING requests > 0
ORDER BY requests DESC, key
LIMIT 200;
