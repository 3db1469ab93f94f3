-- Beside usage_15m and usage_totals_15m: the same sums by four hours, and narrower ones, for questions over weeks. Each row is computed
-- by the same pass from the quarters of an hour, so both say the same. A key that is no longer true has 0 requests.
-- Questions go to the views below, which take quarters wherever four hours would be too coarse.
CREATE TABLE IF NOT EXISTS metrion.usage_totals_4h
(
    account      LowCardinality(String),
    bucket       DateTime('UTC') CODEC(DoubleDelta, ZSTD(1)),
    token        LowCardinality(String),
    provider     LowCardinality(String),
    model        LowCardinality(String),
    status       UInt16 CODEC(ZSTD(1)),
    outcome      LowCardinality(String),
    cache        LowCardinality(String),
    usage_source LowCardinality(String),
    priced       Bool,
    requests     UInt64 CODEC(T64, ZSTD(1)),
    errors       UInt64 CODEC(T64, ZSTD(1)),
    unpriced     UInt64 CODEC(T64, ZSTD(1)),
    input_tokens Nullable(UInt64) CODEC(T64, ZSTD(1)),
    output_tokens Nullable(UInt64) CODEC(T64, ZSTD(1)),
    cache_read_tokens UInt64 CODEC(T64, ZSTD(1)),
    cache_write_tokens UInt64 CODEC(T64, ZSTD(1)),
    reasoning_tokens UInt64 CODEC(T64, ZSTD(1)),
    cost         Nullable(Decimal(38, 12)),
    cost_by_class Map(String, Decimal(38, 12)),
    cost_saved   Nullable(Decimal(38, 12)),
    saved_input_tokens UInt64 CODEC(T64, ZSTD(1)),
    saved_output_tokens UInt64 CODEC(T64, ZSTD(1)),
    latency_count UInt64 CODEC(T64, ZSTD(1)),
    latency_sum  UInt64 CODEC(T64, ZSTD(1)),
    ttfb_count   UInt64 CODEC(T64, ZSTD(1)),
    ttfb_sum     UInt64 CODEC(T64, ZSTD(1)),
    computed_at  DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1))
)
ENGINE = ReplacingMergeTree(computed_at)
PARTITION BY toYYYYMMDD(bucket)
PRIMARY KEY (account, bucket)
ORDER BY (account, bucket, token, provider, model, status, outcome, cache, usage_source, priced)
TTL bucket + INTERVAL 1200 DAY DELETE
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 0, min_age_to_force_merge_seconds = 1200,
    min_age_to_force_merge_on_partition_only = 1;

-- Who: one row a requester and `span`, a quarter of an hour (900) or four hours (14400). `answered` are complete answers of a
-- provider: no errors, no cache hits.
CREATE TABLE IF NOT EXISTS metrion.usage_requesters
(
    span         UInt16,
    account      LowCardinality(String),
    bucket       DateTime('UTC') CODEC(DoubleDelta, ZSTD(1)),
    requester    String CODEC(ZSTD(1)),
    requests     UInt64 CODEC(T64, ZSTD(1)),
    errors       UInt64 CODEC(T64, ZSTD(1)),
    hits         UInt64 CODEC(T64, ZSTD(1)),
    unpriced     UInt64 CODEC(T64, ZSTD(1)),
    estimated    UInt64 CODEC(T64, ZSTD(1)),
    input_tokens Nullable(UInt64) CODEC(T64, ZSTD(1)),
    output_tokens Nullable(UInt64) CODEC(T64, ZSTD(1)),
    cost         Nullable(Decimal(38, 12)),
    cost_saved   Nullable(Decimal(38, 12)),
    answered     UInt64 CODEC(T64, ZSTD(1)),
    answered_ms  UInt64 CODEC(T64, ZSTD(1)),
    models       Map(LowCardinality(String), UInt64),
    computed_at  DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1))
)
ENGINE = ReplacingMergeTree(computed_at)
PARTITION BY toYYYYMMDD(bucket)
ORDER BY (span, account, bucket, requester)
TTL bucket + INTERVAL 1200 DAY DELETE
SETTINGS index_granularity = 1024, ttl_only_drop_parts = 1, non_replicated_deduplication_window = 0, min_age_to_force_merge_seconds = 1200,
    min_age_to_force_merge_on_partition_only = 1;

-- How long: states of complete answers of a provider, by provider and model, and (`whole` = 1, both names '') of all of them.
CREATE TABLE IF NOT EXISTS metrion.usage_latency
(
    span         UInt16,
    whole        UInt8,
    account      LowCardinality(String),
    bucket       DateTime('UTC') CODEC(DoubleDelta, ZSTD(1)),
    provider     LowCardinality(String),
    model        LowCardinality(String),
    answered     UInt64 CODEC(T64, ZSTD(1)),
    latency      AggregateFunction(quantilesTDigest(0.5, 0.95, 0.99), UInt32),
    ttfb         AggregateFunction(quantilesTDigest(0.5, 0.95, 0.99), UInt32),
    computed_at  DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1))
)
ENGINE = ReplacingMergeTree(computed_at)
PARTITION BY toYYYYMMDD(bucket)
ORDER BY (span, whole, account, bucket, provider, model)
TTL bucket + INTERVAL 1200 DAY DELETE
SETTINGS index_granularity = 128, ttl_only_drop_parts = 1, non_replicated_deduplication_window = 0, min_age_to_force_merge_seconds = 1200,
    min_age_to_force_merge_on_partition_only = 1;

-- usage_totals by four hours where they are whole and settled: no request of theirs has come since the last finished pass, and
-- they are not among `split`, those in which a question draws a line. Everything else by quarters, as in usage_totals. Until
-- the first pass that writes four hours (`spans`) has finished there are only quarters.
CREATE OR REPLACE VIEW metrion.usage_totals_spans AS
WITH
    (
        SELECT tuple(maxIf(up_to, pass = 'refresh'), maxIf(up_to, pass = 'spans'), argMaxIf(rows_from, up_to, pass = 'refresh'))
        FROM metrion.rollup_passes
    ) AS state,
    state.1 AS refreshed, state.2 AS spanned,
    (
        SELECT groupUniqArray(toStartOfFifteenMinutes(toDateTime(started_at, 'UTC')))
        FROM metrion.response_events
        WHERE ingested_at > if(spanned > toDateTime64(0, 3, 'UTC'), least(refreshed, spanned), refreshed) - INTERVAL 3 MINUTE AND started_at >= state.3
    ) AS touched,
    arrayConcat({split:Array(DateTime('UTC'))}, arrayMap(one -> toStartOfInterval(one, INTERVAL 4 HOUR), touched)) AS quarters
SELECT
    account,
    toStartOfFifteenMinutes(toDateTime(started_at, 'UTC')) AS bucket,
    token, provider,
    toLowCardinality(if(events.model = '', model_requested, events.model)) AS model,
    status, outcome, cache, usage_source,
    CAST(events.cost IS NOT NULL, 'Bool') AS priced,
    count() AS requests,
    countIf(outcome NOT IN ('complete', 'client_closed') OR (outcome = 'complete' AND (status >= 400 OR error_type != ''))) AS errors,
    countIf(events.cost IS NULL) AS unpriced,
    sum(events.input_tokens) AS input_tokens,
    sum(events.output_tokens) AS output_tokens,
    sum(events.cache_read_tokens) AS cache_read_tokens,
    sum(events.cache_write_tokens) AS cache_write_tokens,
    sum(events.reasoning_tokens) AS reasoning_tokens,
    sum(events.cost) AS cost,
    sumMap(events.cost_by_class) AS cost_by_class,
    sum(events.cost_saved) AS cost_saved,
    sum(events.saved_input_tokens) AS saved_input_tokens,
    sum(events.saved_output_tokens) AS saved_output_tokens,
    countIf(outcome != 'interrupted') AS latency_count,
    sumIf(latency_ms, outcome != 'interrupted') AS latency_sum,
    count(ttfb_ms) AS ttfb_count,
    ifNull(sum(ttfb_ms), 0) AS ttfb_sum
FROM metrion.response_events AS events FINAL
PREWHERE toStartOfHour(started_at) IN (SELECT toStartOfHour(arrayJoin(touched)))
    AND has(touched, toStartOfFifteenMinutes(toDateTime(started_at, 'UTC')))
    AND started_at >= arrayMin(touched) AND started_at < arrayMax(touched) + INTERVAL 15 MINUTE
GROUP BY account, bucket, token, provider, model, status, outcome, cache, usage_source, priced
SETTINGS do_not_merge_across_partitions_select_final = 1
UNION ALL
SELECT
    account, bucket, token, provider, model, status, outcome, cache, usage_source, priced, requests, errors, unpriced,
    input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, cost, cost_by_class, cost_saved,
    saved_input_tokens, saved_output_tokens, latency_count, latency_sum, ttfb_count, ttfb_sum
FROM metrion.usage_totals_15m FINAL
PREWHERE (spanned = toDateTime64(0, 3, 'UTC') OR toStartOfInterval(bucket, INTERVAL 4 HOUR) IN (SELECT arrayJoin(quarters))) AND NOT has(touched, bucket)
WHERE requests > 0
SETTINGS do_not_merge_across_partitions_select_final = 1
UNION ALL
SELECT
    account, bucket, token, provider, model, status, outcome, cache, usage_source, priced, requests, errors, unpriced,
    input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, cost, cost_by_class, cost_saved,
    saved_input_tokens, saved_output_tokens, latency_count, latency_sum, ttfb_count, ttfb_sum
FROM metrion.usage_totals_4h FINAL
PREWHERE spanned > toDateTime64(0, 3, 'UTC') AND NOT has(quarters, bucket)
WHERE requests > 0
SETTINGS do_not_merge_across_partitions_select_final = 1;

-- The same for usage_requesters.
CREATE OR REPLACE VIEW metrion.usage_requesters_spans AS
WITH
    (
        SELECT tuple(maxIf(up_to, pass = 'refresh'), maxIf(up_to, pass = 'spans'), argMaxIf(rows_from, up_to, pass = 'refresh'))
        FROM metrion.rollup_passes
    ) AS state,
    state.1 AS refreshed, state.2 AS spanned,
    (
        SELECT groupUniqArray(toStartOfFifteenMinutes(toDateTime(started_at, 'UTC')))
        FROM metrion.response_events
        WHERE ingested_at > if(spanned > toDateTime64(0, 3, 'UTC'), least(refreshed, spanned), refreshed) - INTERVAL 3 MINUTE AND started_at >= state.3
    ) AS touched,
    arrayConcat({split:Array(DateTime('UTC'))}, arrayMap(one -> toStartOfInterval(one, INTERVAL 4 HOUR), touched)) AS quarters
SELECT
    account,
    toStartOfFifteenMinutes(toDateTime(started_at, 'UTC')) AS bucket,
    requester,
    count() AS requests,
    countIf(outcome NOT IN ('complete', 'client_closed') OR (outcome = 'complete' AND (status >= 400 OR error_type != ''))) AS errors,
    countIf(cache = 'HIT') AS hits,
    countIf(events.cost IS NULL) AS unpriced,
    countIf(events.cost IS NOT NULL AND usage_source = 'estimated') AS estimated,
    sum(events.input_tokens) AS input_tokens,
    sum(events.output_tokens) AS output_tokens,
    sum(events.cost) AS cost,
    sum(events.cost_saved) AS cost_saved,
    countIf(outcome = 'complete' AND status < 400 AND cache != 'HIT') AS answered,
    sumIf(latency_ms, outcome = 'complete' AND status < 400 AND cache != 'HIT') AS answered_ms,
    sumMap(map(toLowCardinality(if(events.model = '', model_requested, events.model)), toUInt64(1))) AS models
FROM metrion.response_events AS events FINAL
PREWHERE toStartOfHour(started_at) IN (SELECT toStartOfHour(arrayJoin(touched)))
    AND has(touched, toStartOfFifteenMinutes(toDateTime(started_at, 'UTC')))
    AND started_at >= arrayMin(touched) AND started_at < arrayMax(touched) + INTERVAL 15 MINUTE
GROUP BY account, bucket, requester
SETTINGS do_not_merge_across_partitions_select_final = 1
UNION ALL
SELECT
    account, bucket, requester,
    sum(quarter.requests) AS requests, sum(quarter.errors) AS errors, sumIf(quarter.requests, cache = 'HIT') AS hits,
    sum(quarter.unpriced) AS unpriced, sumIf(quarter.requests, priced AND usage_source = 'estimated') AS estimated,
    sum(quarter.input_tokens) AS input_tokens, sum(quarter.output_tokens) AS output_tokens, sum(quarter.cost) AS cost,
    sum(quarter.cost_saved) AS cost_saved,
    sumIf(quarter.latency_count, outcome = 'complete' AND status < 400 AND cache != 'HIT') AS answered,
    sumIf(quarter.latency_sum, outcome = 'complete' AND status < 400 AND cache != 'HIT') AS answered_ms,
    sumMap(map(quarter.model, quarter.requests)) AS models
FROM metrion.usage_15m AS quarter FINAL
PREWHERE spanned = toDateTime64(0, 3, 'UTC') AND NOT has(touched, bucket)
WHERE quarter.requests > 0
GROUP BY account, bucket, requester
SETTINGS do_not_merge_across_partitions_select_final = 1
UNION ALL
SELECT
    account, bucket, requester, requests, errors, hits, unpriced, estimated, input_tokens, output_tokens, cost, cost_saved,
    answered, answered_ms, models
FROM metrion.usage_requesters FINAL
PREWHERE spanned > toDateTime64(0, 3, 'UTC') AND span = 900 AND toStartOfInterval(bucket, INTERVAL 4 HOUR) IN (SELECT arrayJoin(quarters)) AND NOT has(touched, bucket)
WHERE requests > 0
SETTINGS do_not_merge_across_partitions_select_final = 1
UNION ALL
SELECT
    account, bucket, requester, requests, errors, hits, unpriced, estimated, input_tokens, output_tokens, cost, cost_saved,
    answered, answered_ms, models
FROM metrion.usage_requesters FINAL
PREWHERE spanned > toDateTime64(0, 3, 'UTC') AND span = 14400 AND NOT has(quarters, bucket)
WHERE requests > 0
SETTINGS do_not_merge_across_partitions_select_final = 1;

-- The same for usage_latency. `whole`: 1 for all providers and models together.
CREATE OR REPLACE VIEW metrion.usage_latency_spans AS
WITH
    (
        SELECT tuple(maxIf(up_to, pass = 'refresh'), maxIf(up_to, pass = 'spans'), argMaxIf(rows_from, up_to, pass = 'refresh'))
        FROM metrion.rollup_passes
    ) AS state,
    state.1 AS refreshed, state.2 AS spanned,
    (
        SELECT groupUniqArray(toStartOfFifteenMinutes(toDateTime(started_at, 'UTC')))
        FROM metrion.response_events
        WHERE ingested_at > if(spanned > toDateTime64(0, 3, 'UTC'), least(refreshed, spanned), refreshed) - INTERVAL 3 MINUTE AND started_at >= state.3
    ) AS touched,
    arrayConcat({split:Array(DateTime('UTC'))}, arrayMap(one -> toStartOfInterval(one, INTERVAL 4 HOUR), touched)) AS quarters
SELECT
    account, toStartOfFifteenMinutes(toDateTime(started_at, 'UTC')) AS bucket,
    if({whole:UInt8} = 1, '', toString(events.provider)) AS provider,
    if({whole:UInt8} = 1, '', toString(if(events.model = '', model_requested, events.model))) AS model,
    count() AS answered,
    quantilesTDigestState(0.5, 0.95, 0.99)(latency_ms) AS latency,
    quantilesTDigestStateIf(0.5, 0.95, 0.99)(assumeNotNull(ttfb_ms), ttfb_ms IS NOT NULL) AS ttfb
FROM metrion.response_events AS events FINAL
PREWHERE toStartOfHour(started_at) IN (SELECT toStartOfHour(arrayJoin(touched)))
    AND has(touched, toStartOfFifteenMinutes(toDateTime(started_at, 'UTC')))
    AND started_at >= arrayMin(touched) AND started_at < arrayMax(touched) + INTERVAL 15 MINUTE
WHERE outcome = 'complete' AND status < 400 AND cache != 'HIT'
GROUP BY account, bucket, provider, model
SETTINGS do_not_merge_across_partitions_select_final = 1
UNION ALL
SELECT
    account, bucket, if({whole:UInt8} = 1, '', provider) AS provider, if({whole:UInt8} = 1, '', model) AS model,
    latency_count AS answered, latency, ttfb
FROM metrion.usage_totals_15m FINAL
PREWHERE spanned = toDateTime64(0, 3, 'UTC') AND NOT has(touched, bucket)
WHERE requests > 0 AND outcome = 'complete' AND status < 400 AND cache != 'HIT'
SETTINGS do_not_merge_across_partitions_select_final = 1
UNION ALL
SELECT account, bucket, provider, model, answered, latency, ttfb
FROM metrion.usage_latency FINAL
PREWHERE spanned > toDateTime64(0, 3, 'UTC') AND span = 900 AND whole = {whole:UInt8} AND toStartOfInterval(bucket, INTERVAL 4 HOUR) IN (SELECT arrayJoin(quarters)) AND NOT has(touched, bucket)
SETTINGS do_not_merge_across_partitions_select_final = 1
UNION ALL
SELECT account, bucket, provider, model, answered, latency, ttfb
FROM metrion.usage_latency FINAL
PREWHERE spanned > toDateTime64(0, 3, 'UTC') AND span = 14400 AND whole = {whole:UInt8} AND NOT has(quarters, bucket)
SETTINGS do_not_merge_across_partitions_select_final = 1;
