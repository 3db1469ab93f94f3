-- Recompute days of usage_session_days from their requests, in a pass that began at `at`.
INSERT INTO metrion.usage_session_days
(
    -- include session_day_key.sql
    ,
    -- include day_sums.sql
    , equivalent, known_cache_read, first_at, ended_at, model_names, computed_at
)
SELECT
    events.account,
    toStartOfDay(toDateTime(events.started_at, 'UTC')) AS bucket,
    events.session, events.client, events.agent, events.billing, events.requester,
    -- include day_figures.sql
    ,
    sum(events.cost_equivalent),
    sumIf(events.cache_read_tokens, events.input_tokens IS NOT NULL),
    min(events.started_at),
    max(events.started_at + toIntervalMillisecond(events.latency_ms)),
    groupUniqArrayIf(9)(events.model_name, events.model_name != ''),
    {at:DateTime64(3, 'UTC')}
FROM metrion.response_events AS events FINAL
PREWHERE events.started_at >= arrayMin({days:Array(DateTime('UTC'))})
    AND events.started_at < arrayMax({days:Array(DateTime('UTC'))}) + INTERVAL 1 DAY
    AND has({days:Array(DateTime('UTC'))}, toStartOfDay(toDateTime(events.started_at, 'UTC')))
GROUP BY events.account, bucket, events.session, events.client, events.agent, events.billing, events.requester
SETTINGS do_not_merge_across_partitions_select_final = 1, max_bytes_before_external_group_by = 500000000;
