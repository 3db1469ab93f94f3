-- The requests of one session of an account, oldest first, at most `limit` after `offset`.
SELECT
    -- include request_row.sql
    r.agent AS agent,
    r.cache_read_tokens AS cache_read,
    cache_read / nullIf(r.input_tokens, 0) * 100 AS cache_share,
    r.latency_ms AS latency_ms
FROM metrion.response_events AS r FINAL
PREWHERE r.session = {session:String}
WHERE r.account = {account:String}
ORDER BY r.started_at, r.id
LIMIT {limit:UInt32} OFFSET {offset:UInt32}
SETTINGS do_not_merge_across_partitions_select_final = 1;
