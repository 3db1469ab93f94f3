-- Which metadata keys of a period have few enough values to become tags? At most 10, the most used ones.
SELECT
    key,
    uniqExact(value) AS distinct_values,
    count() AS requests
FROM metrion.requests
ARRAY JOIN mapKeys(metadata) AS key, mapValues(metadata) AS value
WHERE started_at >= {since:DateTime64(6, 'UTC')} AND started_at < {until:DateTime64(6, 'UTC')}
  AND ({account:String} = '' OR account = {account:String})
GROUP BY key
ORDER BY distinct_values > {most_values:UInt32}, requests DESC, key
LIMIT 100;
