-- Measures grouped by up to three dimensions, of which services/dashboard/queries/groups.py inserts the SQL ('' for one that is not
-- used): in order of time, if that is a dimension, then the largest by `ordered` first. `groups` is their number, including those beyond
-- `limit`. See dashboard_compared.sql.
SELECT
    toString({first_dimension:Identifier}) AS first,
    toString({second_dimension:Identifier}) AS second,
    toString({third_dimension:Identifier}) AS third,
    count() OVER () AS groups,
    -- measures: once
FROM metrion.{source:Identifier} AS u
WHERE u.bucket >= {since:DateTime64(6, 'UTC')} AND u.bucket < {until:DateTime64(6, 'UTC')}
GROUP BY first, second, third
HAVING requests > 0
ORDER BY
    if({time_at:UInt8} = 1, first, if({time_at:UInt8} = 2, second, if({time_at:UInt8} = 3, third, ''))),
    {ordered:Identifier} DESC NULLS LAST, requests DESC, first, second, third
LIMIT {limit:UInt32} OFFSET {offset:UInt64};
