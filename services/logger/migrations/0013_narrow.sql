-- Beside usage_15m and usage_totals_15m: narrower sums, by quarters of an hour, hours, four hours and days of UTC, for questions over weeks.
-- `span` says which: 900, 3600, 14400 or 86400, in seconds. Each row is computed by the same pass from the quarters of an hour, so all say the same. A key that
-- is no longer true has 0 requests. As `answered` count complete answers of a provider: no errors, no cache hits.
-- Partitions by month: they are small, and each part that is read costs more than the rows that FINAL merges.

-- What: sums by provider and model, by status and outcome, or by token; `dims` says by which (model, status, token), the other
-- names are '' and 0.
CREATE TABLE IF NOT EXISTS metrion.usage_sums
(
    span         UInt32,
    dims         LowCardinality(String),
    account      LowCardinality(String),
    bucket       DateTime('UTC') CODEC(DoubleDelta, ZSTD(1)),
    provider     LowCardinality(String),
    model        LowCardinality(String),
    status       UInt16 CODEC(ZSTD(1)),
    outcome      LowCardinality(String),
    token        LowCardinality(String),
    requests     UInt64 CODEC(T64, ZSTD(1)),
    errors       UInt64 CODEC(T64, ZSTD(1)),
    hits         UInt64 CODEC(T64, ZSTD(1)),
    cacheable    UInt64 CODEC(T64, ZSTD(1)),
    unpriced     UInt64 CODEC(T64, ZSTD(1)),
    estimated    UInt64 CODEC(T64, ZSTD(1)),
    estimated_cost Nullable(Decimal(38, 12)),
    input_tokens Nullable(UInt64) CODEC(T64, ZSTD(1)),
    output_tokens Nullable(UInt64) CODEC(T64, ZSTD(1)),
    cache_read_tokens UInt64 CODEC(T64, ZSTD(1)),
    cache_write_tokens UInt64 CODEC(T64, ZSTD(1)),
    reasoning_tokens UInt64 CODEC(T64, ZSTD(1)),
    cost         Nullable(Decimal(38, 12)),
    cost_by_class Map(String, Decimal(38, 12)),
    cost_saved   Nullable(Decimal(38, 12)),
    answered     UInt64 CODEC(T64, ZSTD(1)),
    answered_ms  UInt64 CODEC(T64, ZSTD(1)),
    first_bytes  UInt64 CODEC(T64, ZSTD(1)),
    first_byte_ms UInt64 CODEC(T64, ZSTD(1)),
    ok           UInt64 CODEC(T64, ZSTD(1)),
    broken       UInt64 CODEC(T64, ZSTD(1)),
    refused      UInt64 CODEC(T64, ZSTD(1)),
    failed       UInt64 CODEC(T64, ZSTD(1)),
    interrupted  UInt64 CODEC(T64, ZSTD(1)),
    computed_at  DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1))
)
ENGINE = ReplacingMergeTree(computed_at)
PARTITION BY toYYYYMM(bucket)
ORDER BY (span, dims, account, bucket, provider, model, status, outcome, token)
TTL bucket + INTERVAL 1200 DAY DELETE
SETTINGS index_granularity = 1024, ttl_only_drop_parts = 1, non_replicated_deduplication_window = 0, min_age_to_force_merge_seconds = 1200,
    min_age_to_force_merge_on_partition_only = 1;

-- Who: one row a requester.
CREATE TABLE IF NOT EXISTS metrion.usage_requester_sums
(
    span         UInt32,
    account      LowCardinality(String),
    bucket       DateTime('UTC') CODEC(DoubleDelta, ZSTD(1)),
    requester    LowCardinality(String),
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
PARTITION BY toYYYYMM(bucket)
ORDER BY (span, account, bucket, requester)
TTL bucket + INTERVAL 1200 DAY DELETE
SETTINGS index_granularity = 1024, ttl_only_drop_parts = 1, non_replicated_deduplication_window = 0, min_age_to_force_merge_seconds = 1200,
    min_age_to_force_merge_on_partition_only = 1;

-- How long: states of complete answers, by provider and model, and (`whole` = 1, both names '') of all of them.
CREATE TABLE IF NOT EXISTS metrion.usage_latency_states
(
    span         UInt32,
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
PARTITION BY toYYYYMM(bucket)
ORDER BY (span, whole, account, bucket, provider, model)
TTL bucket + INTERVAL 1200 DAY DELETE
SETTINGS index_granularity = 128, ttl_only_drop_parts = 1, non_replicated_deduplication_window = 0, min_age_to_force_merge_seconds = 1200,
    min_age_to_force_merge_on_partition_only = 1;

-- What stood here before.
DROP VIEW IF EXISTS metrion.usage_totals_spans;
DROP VIEW IF EXISTS metrion.usage_requesters_spans;
DROP VIEW IF EXISTS metrion.usage_latency_spans;
DROP TABLE IF EXISTS metrion.usage_totals_4h;
DROP TABLE IF EXISTS metrion.usage_requesters;
DROP TABLE IF EXISTS metrion.usage_latency;
