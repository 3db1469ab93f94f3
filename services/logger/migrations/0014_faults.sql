-- Requests that failed or have no known cost, and why: few beside all others, so that what went wrong in a month is known without
-- reading it. Written by the passes of the rollup, whole quarters of an hour; a key that is no longer true has 0 requests.
-- Questions go to the view `usage_faults`.
CREATE TABLE IF NOT EXISTS metrion.usage_faults_15m
(
    account      LowCardinality(String),
    bucket       DateTime('UTC') CODEC(DoubleDelta, ZSTD(1)),
    requester    String CODEC(ZSTD(1)),
    token        LowCardinality(String),
    provider     LowCardinality(String),
    model        LowCardinality(String),
    status       UInt16 CODEC(ZSTD(1)),
    outcome      LowCardinality(String),
    error_type   LowCardinality(String),
    cache        LowCardinality(String),
    usage_source LowCardinality(String),
    priced       Bool,
    cost_reason  LowCardinality(String),
    requests     UInt64 CODEC(T64, ZSTD(1)),
    input_tokens Nullable(UInt64) CODEC(T64, ZSTD(1)),
    output_tokens Nullable(UInt64) CODEC(T64, ZSTD(1)),
    last_at      DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1)),
    computed_at  DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1))
)
ENGINE = ReplacingMergeTree(computed_at)
PARTITION BY toYYYYMMDD(bucket)
PRIMARY KEY (account, bucket)
ORDER BY (account, bucket, provider, model, status, outcome, error_type, cost_reason, token, cache, usage_source, priced, requester)
TTL bucket + INTERVAL 1200 DAY DELETE
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 0, min_age_to_force_merge_seconds = 1200,
    min_age_to_force_merge_on_partition_only = 1;
