-- How much of `measure` (requests, errors, cost) does each model, provider, … have per bucket? The eight largest by name, the
-- others in rows with `rest` = 1 and no name. Empty buckets have no row. See dashboard_compared.sql.
SELECT
    if(rank <= 8, name, '') AS key,
    rank > 8 AS rest,
    slot,
    sum(amount) AS amounts,
    min(rank) AS place
FROM
(
    SELECT name, slot, amount, dense_rank() OVER (ORDER BY total DESC, name) AS rank
    FROM
    (
        SELECT name, slot, ifNull({measure:Identifier}, 0) AS amount, sum(amount) OVER (PARTITION BY name) AS total
        FROM
        (
            SELECT
                toString({by:Identifier}) AS name,
                -- include slot.sql
                -- measures: once
            FROM metrion.{source:Identifier} AS u
            WHERE u.bucket >= {since:DateTime64(6, 'UTC')} AND u.bucket < {until:DateTime64(6, 'UTC')}
            GROUP BY name, slot
        )
    )
    WHERE total > 0
)
GROUP BY key, rest, slot
ORDER BY rest, place, slot;
