-- Which keys of metadata do requests have? The most used first. See dashboard_pivot.sql.
SELECT
    arrayJoin(u.properties) AS key,
    sum(u.requests) AS requests
FROM metrion.{source:Identifier} AS u
WHERE u.bucket >= {since:DateTime64(6, 'UTC')} AND u.bucket < {until:DateTime64(6, 'UTC')}
GROUP BY key
ORDER BY requests DESC, key
LIMIT 200;
