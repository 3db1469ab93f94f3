-- What did each turn of a session cost: all that followed from one message of the user? In order, at most `limit`; `turns` is their
-- number. A request is of the turn that its client names. Of other clients, a turn begins with a request of the session's first agent
-- in which the user spoke last, unless it repeats one or comes while an earlier request of that agent is in progress; whatever follows,
-- subagents included, is of this turn. `turn` is '' for what came before the first.
SELECT
    turn,
    count() OVER () AS turns,
    min(t.started_at) AS first_at,
    max(t.started_at) AS last_start,
    dateDiff('millisecond', first_at, max(t.ended_at)) AS duration,
    count() AS requests,
    countIf(t.is_error) AS errors,
    uniqExact(t.agent) AS agents,
    sum(t.input_tokens) AS input_tokens,
    sum(t.output_tokens) AS output_tokens,
    sumIf(t.cache_read_tokens, t.input_tokens IS NOT NULL) AS cache_read,
    cache_read / nullIf(input_tokens, 0) * 100 AS cache_share,
    sum(t.cost) AS cost,
    sum(t.cost_equivalent) AS equivalent,
    countIf(t.cost IS NULL) AS unpriced,
    countIf(t.is_estimated) AS estimated
FROM
(
    SELECT
        *,
        multiIf(
            named NOT IN ('', toString(id)), named,
            named != '' AND agent = first_agent AND NOT is_repeat AND started_at >= busy_until, named,
            NULL
        ) AS begun,
        ifNull(anyLast(begun) OVER (ORDER BY started_at, id ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW), '') AS turn
    FROM
    (
        SELECT
            r.id AS id,
            r.started_at AS started_at,
            r.started_at + toIntervalMillisecond(r.latency_ms) AS ended_at,
            r.turn AS named,
            r.agent AS agent,
            r.is_error AS is_error,
            r.is_estimated AS is_estimated,
            r.input_tokens AS input_tokens,
            r.output_tokens AS output_tokens,
            r.cache_read_tokens AS cache_read_tokens,
            r.cost AS cost,
            r.cost_equivalent AS cost_equivalent,
            first_value(r.agent) OVER (ORDER BY started_at, id) AS first_agent,
            max(ended_at) OVER (PARTITION BY agent ORDER BY started_at, id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS busy_until,
            -- include repeated_try.sql
        FROM metrion.response_events AS r FINAL
        PREWHERE r.session = {session:String}
        WHERE r.account = {account:String}
        WINDOW alike AS
        (
            PARTITION BY agent, r.endpoint, r.model_requested, r.request_bytes ORDER BY started_at, id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW
        )
    )
) AS t
GROUP BY turn
ORDER BY first_at, turn
LIMIT {limit:UInt32}
SETTINGS do_not_merge_across_partitions_select_final = 1;
