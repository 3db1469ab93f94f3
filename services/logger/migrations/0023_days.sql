-- Sums per day of UTC by everything that a request is about, all together, metadata included: what pivots over weeks read. Each day is
-- computed from its requests once it has been over for two hours, and again when requests of it arrive late; a key that is no longer true
-- has 0 requests. Days that are not here are read from the requests.
-- `metadata` is a JSON object with sorted keys: of a few different texts, ClickHouse evaluates a function once each, not once a row.
CREATE TABLE IF NOT EXISTS metrion.usage_days
(
    account      LowCardinality(String),
    bucket       DateTime('UTC') CODEC(DoubleDelta, ZSTD(1)),
    requester    LowCardinality(String),
    token        LowCardinality(String),
    provider     LowCardinality(String),
    model        LowCardinality(String),
    endpoint     LowCardinality(String),
    status       UInt16 CODEC(ZSTD(1)),
    outcome      LowCardinality(String),
    cache        LowCardinality(String),
    client       LowCardinality(String),
    agent        LowCardinality(String),
    billing      LowCardinality(String),
    metadata     LowCardinality(String),
    is_failed    Bool,
    is_priced    Bool,
    is_guessed   Bool,
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
    computed_at  DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1))
)
ENGINE = ReplacingMergeTree(computed_at)
PARTITION BY toYYYYMM(bucket)
PRIMARY KEY (account, bucket)
ORDER BY (account, bucket, provider, model, endpoint, status, outcome, is_failed, is_priced, is_guessed, cache, billing, client, agent, metadata,
    token, requester)
TTL bucket + INTERVAL 1200 DAY DELETE
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 0, min_age_to_force_merge_seconds = 1200,
    min_age_to_force_merge_on_partition_only = 1;
