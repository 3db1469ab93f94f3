-- Which hours have any `measure` (requests, errors), and how much? Between `since` (included) and `until` (excluded), at most `limit`:
-- latest first, or earliest first with `ascending` = 1. A list can then skip the hours between. See dashboard_compared.sql.
SELECT
    toStartOfHour(u.bucket) AS hour,
    -- measures: once
FROM metrion.{source:Identifier} AS u
WHERE u.bucket >= toStartOfFifteenMinutes({since:DateTime64(6, 'UTC')}) AND u.bucket < {until:DateTime64(6, 'UTC')}
GROUP BY hour
HAVING {measure:Identifier} > 0
ORDER BY if({ascending:UInt8} = 1, hour, NULL), hour DESC
LIMIT {limit:UInt32};
