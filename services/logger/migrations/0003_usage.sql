-- Usage by quarter of an hour: whole buckets, each computed anew by a pass of the rollup. A key that is no longer true
-- (interrupted, then answered) is written again with 0 requests. Questions go to the view `usage`.
-- Partitions by day, each past day soon one part: FINAL over one part merges nothing.
CREATE TABLE IF NOT EXISTS metrion.usage_15m
(
    account      LowCardinality(String),
    bucket       DateTime('UTC') CODEC(DoubleDelta, ZSTD(1)),
    requester    String CODEC(ZSTD(1)),
    token        LowCardinality(String),
    provider     LowCardinality(String),
    model        LowCardinality(String),
    stream       Bool,
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
    latency      AggregateFunction(quantilesTDigest(0.5, 0.95, 0.99), UInt32),
    ttfb_count   UInt64 CODEC(T64, ZSTD(1)),
    ttfb_sum     UInt64 CODEC(T64, ZSTD(1)),
    ttfb         AggregateFunction(quantilesTDigest(0.5, 0.95, 0.99), UInt32),
    computed_at  DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1))
)
ENGINE = ReplacingMergeTree(computed_at)
PARTITION BY toYYYYMMDD(bucket)
PRIMARY KEY (account, toStartOfDay(bucket), requester)
ORDER BY (account, toStartOfDay(bucket), requester, bucket, token, provider, model, stream, status, outcome, cache, usage_source, priced)
TTL bucket + INTERVAL 1200 DAY DELETE
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 0, min_age_to_force_merge_seconds = 1200,
    min_age_to_force_merge_on_partition_only = 1;

-- The same without the requester: far fewer rows, for whatever does not ask who. Questions go to `usage_totals`.
CREATE TABLE IF NOT EXISTS metrion.usage_totals_15m
(
    account      LowCardinality(String),
    bucket       DateTime('UTC') CODEC(DoubleDelta, ZSTD(1)),
    token        LowCardinality(String),
    provider     LowCardinality(String),
    model        LowCardinality(String),
    stream       Bool,
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
    latency      AggregateFunction(quantilesTDigest(0.5, 0.95, 0.99), UInt32),
    ttfb_count   UInt64 CODEC(T64, ZSTD(1)),
    ttfb_sum     UInt64 CODEC(T64, ZSTD(1)),
    ttfb         AggregateFunction(quantilesTDigest(0.5, 0.95, 0.99), UInt32),
    computed_at  DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1))
)
ENGINE = ReplacingMergeTree(computed_at)
PARTITION BY toYYYYMMDD(bucket)
PRIMARY KEY (account, toStartOfDay(bucket))
ORDER BY (account, toStartOfDay(bucket), bucket, token, provider, model, stream, status, outcome, cache, usage_source, priced)
TTL bucket + INTERVAL 1200 DAY DELETE
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 0, min_age_to_force_merge_seconds = 1200,
    min_age_to_force_merge_on_partition_only = 1;

-- One row a finished pass of the rollup. `up_to` is the server's time when it began: every bucket touched until then
-- stands in the tables above. Of buckets before `rows_from` requests may be deleted already: they are left as they are.
CREATE TABLE IF NOT EXISTS metrion.rollup_passes
(
    pass         LowCardinality(String),
    up_to        DateTime64(3, 'UTC'),
    rows_from    DateTime('UTC'),
    buckets      UInt32,
    seconds      Float32
)
ENGINE = ReplacingMergeTree
ORDER BY (pass, up_to)
TTL toDateTime(up_to) + INTERVAL 30 DAY DELETE;
