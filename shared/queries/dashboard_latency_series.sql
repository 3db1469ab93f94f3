-- How long do the models (providers, …) take to respond, per bucket? The 95th percentile in milliseconds, of successful responses that did
-- not come from the cache, of the eight names with most of them. Empty buckets have no row. See dashboard_compared.sql.
SELECT key, 0 AS rest, slot, latency_p95
FROM
(
    SELECT key, slot, latency_p95, dense_rank() OVER (ORDER BY total DESC, key) AS place
    FROM
    (
        SELECT key, slot, latency_p95, sum(answered) OVER (PARTITION BY key) AS total
        FROM
        (
            SELECT
                toString({by:Identifier}) AS key,
                -- include slot.sql
                -- measures: once
            FROM metrion.{source:Identifier} AS u
            WHERE u.bucket >= {since:DateTime64(6, 'UTC')} AND u.bucket < {until:DateTime64(6, 'UTC')}
            GROUP BY key, slot
        )
    )
)
WHERE place <= 8
ORDER BY place, slot;
