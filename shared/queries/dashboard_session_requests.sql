-- The requests of one session of an account, oldest first, at most `limit` after `offset`; a client's repeated tries of one request are
-- one row, that of the last try. `tries` is their number and `earlier` those before the last, oldest first: (id, start,
-- status, outcome, error type); `cost` is the sum over all, NULL while one is unknown. `rows` is the number of rows in all.
SELECT
    *,
    count() OVER () AS rows
FROM
(
    SELECT
        * EXCEPT (cost, attempt),
        sum(t.cost) OVER tried AS known_cost,
        if(countIf(t.cost IS NULL) OVER tried = 0, known_cost, NULL) AS cost,
        count() OVER tried AS tries,
        arraySlice(arraySort(groupArray((t.started_at, t.id, t.status, t.outcome, t.error_type)) OVER tried), 1, tries - 1) AS earlier,
        t.started_at = max(t.started_at) OVER tried AND t.id = argMax(t.id, (t.started_at, t.id)) OVER tried AS is_last
    FROM
    (
        SELECT
            * EXCEPT (is_repeat),
            sum(NOT is_repeat) OVER (PARTITION BY agent, endpoint, asked, size ORDER BY started_at, id) AS attempt
        FROM
        (
            SELECT
                -- include request_row.sql
                r.agent AS agent,
                r.endpoint AS endpoint,
                r.model_requested AS asked,
                r.request_bytes AS size,
                r.cache_read_tokens AS cache_read,
                cache_read / nullIf(r.input_tokens, 0) * 100 AS cache_share,
                r.latency_ms AS latency_ms,
                -- include repeated_try.sql
            FROM metrion.response_events AS r FINAL
            PREWHERE r.session = {session:String}
            WHERE r.account = {account:String}
            WINDOW alike AS (PARTITION BY agent, endpoint, asked, size ORDER BY started_at, id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
        )
    ) AS t
    WINDOW tried AS (PARTITION BY agent, endpoint, asked, size, attempt)
)
WHERE is_last
ORDER BY started_at, id
LIMIT {limit:UInt32} OFFSET {offset:UInt32}
SETTINGS do_not_merge_across_partitions_select_final = 1;
