-- Sums per day of UTC by session and by whose it is, computed together with usage_days and likewise: a key that is no longer true has 0
-- requests, and days that are not here are read from the requests. Requests without a session are a row per client and requester.
-- `known_cache_read`: of requests with known input. `ended_at`: the end of the last response. `model_names`: nine at most.
CREATE TABLE IF NOT EXISTS metrion.usage_session_days
(
    account      LowCardinality(String),
    bucket       DateTime('UTC') CODEC(DoubleDelta, ZSTD(1)),
    session      String CODEC(ZSTD(1)),
    client       LowCardinality(String),
    agent        LowCardinality(String),
    billing      LowCardinality(String),
    requester    LowCardinality(String),
    requests     UInt64 CODEC(T64, ZSTD(1)),
    errors       UInt64 CODEC(T64, ZSTD(1)),
    hits         UInt64 CODEC(T64, ZSTD(1)),
    unpriced     UInt64 CODEC(T64, ZSTD(1)),
    estimated    UInt64 CODEC(T64, ZSTD(1)),
    estimated_cost Nullable(Decimal(38, 12)),
    input_tokens Nullable(UInt64) CODEC(T64, ZSTD(1)),
    output_tokens Nullable(UInt64) CODEC(T64, ZSTD(1)),
    cache_read_tokens UInt64 CODEC(T64, ZSTD(1)),
    cache_write_tokens UInt64 CODEC(T64, ZSTD(1)),
    reasoning_tokens UInt64 CODEC(T64, ZSTD(1)),
    cost         Nullable(Decimal(38, 12)),
    cost_saved   Nullable(Decimal(38, 12)),
    answered     UInt64 CODEC(T64, ZSTD(1)),
    answered_ms  UInt64 CODEC(T64, ZSTD(1)),
    first_bytes  UInt64 CODEC(T64, ZSTD(1)),
    first_byte_ms UInt64 CODEC(T64, ZSTD(1)),
    equivalent   Nullable(Decimal(38, 12)),
    known_cache_read UInt64 CODEC(T64, ZSTD(1)),
    first_at     DateTime64(6, 'UTC') CODEC(ZSTD(1)),
    ended_at     DateTime64(6, 'UTC') CODEC(ZSTD(1)),
    model_names  Array(LowCardinality(String)),
    computed_at  DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1))
)
ENGINE = ReplacingMergeTree(computed_at)
PARTITION BY toYYYYMM(bucket)
PRIMARY KEY (account, bucket)
ORDER BY (account, bucket, session, client, agent, billing, requester)
TTL bucket + INTERVAL 1200 DAY DELETE
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 0, min_age_to_force_merge_seconds = 1200,
    min_age_to_force_merge_on_partition_only = 1;
