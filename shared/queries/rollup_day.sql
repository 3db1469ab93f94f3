-- Recompute days of usage_days from their requests, in a pass that began at `at`.
INSERT INTO metrion.usage_days
(
    -- include day_key.sql
    ,
    -- include day_sums.sql
    , computed_at
)
SELECT
    events.account,
    toStartOfDay(toDateTime(events.started_at, 'UTC')) AS bucket,
    events.requester, events.token, events.provider,
    events.model_name, events.endpoint, events.status, events.outcome, events.cache, events.client, events.agent, events.billing,
    toJSONString(mapSort(events.metadata)) AS properties,
    CAST(events.is_error, 'Bool') AS is_failed,
    CAST(events.cost IS NOT NULL, 'Bool') AS is_priced,
    CAST(events.is_estimated, 'Bool') AS is_guessed,
    -- include day_figures.sql
    ,
    {at:DateTime64(3, 'UTC')}
FROM metrion.response_events AS events FINAL
PREWHERE events.started_at >= arrayMin({days:Array(DateTime('UTC'))})
    AND events.started_at < arrayMax({days:Array(DateTime('UTC'))}) + INTERVAL 1 DAY
    AND has({days:Array(DateTime('UTC'))}, toStartOfDay(toDateTime(events.started_at, 'UTC')))
GROUP BY events.account, bucket, events.requester, events.token, events.provider, events.model_name, events.endpoint, events.status,
    events.outcome, events.cache, events.client, events.agent, events.billing, properties, is_failed, is_priced, is_guessed
SETTINGS do_not_merge_across_partitions_select_final = 1, max_bytes_before_external_group_by = 500000000;
