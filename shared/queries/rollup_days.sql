-- Buckets in the rollup, day by day, including those whose requests are deleted.
SELECT toStartOfDay(bucket) AS day, groupUniqArray(rollup.bucket) AS buckets
FROM metrion.usage_totals_15m AS rollup
GROUP BY day
ORDER BY day;
