-- Which buckets of the rollup are there, day by day? Also those whose requests are long deleted.
SELECT toStartOfDay(bucket) AS day, groupUniqArray(rollup.bucket) AS buckets
FROM metrion.usage_totals_15m AS rollup
GROUP BY day
ORDER BY day;
