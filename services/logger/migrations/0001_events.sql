CREATE DATABASE IF NOT EXISTS metrion;

-- One row a request that was about to be sent upstream; only the sweep and the completeness proof read it.
CREATE TABLE IF NOT EXISTS metrion.request_events
(
    id           UUID,
    account      LowCardinality(String),
    token        LowCardinality(String),
    requester    String,
    metadata     Map(String, String),
    provider     LowCardinality(String),
    dialect      LowCardinality(String),
    endpoint     LowCardinality(String),
    model_requested LowCardinality(String),
    stream       Bool,
    started_at   DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1)),
    gateway      LowCardinality(String),
    spool        LowCardinality(String),
    epoch        UInt64,
    sequence     UInt64 CODEC(T64, ZSTD(1)),
    ingested_at  DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(Delta(8), ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMMDD(started_at)
ORDER BY (toStartOfHour(started_at), id)
TTL toDateTime(started_at) + INTERVAL 7 DAY DELETE
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000;

-- One row a version of a request's end: interrupted 1, answered 2, priced again 3 and up.
CREATE TABLE IF NOT EXISTS metrion.response_events
(
    id           UUID,
    account      LowCardinality(String),
    token        LowCardinality(String),
    requester    String,
    metadata     Map(String, String),
    provider     LowCardinality(String),
    dialect      LowCardinality(String),
    endpoint     LowCardinality(String),
    model_requested LowCardinality(String),
    model        LowCardinality(String),
    stream       Bool,
    started_at   DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1)),
    gateway      LowCardinality(String),
    status       UInt16,
    outcome      LowCardinality(String),
    error_type   LowCardinality(String),
    error_message String CODEC(ZSTD(3)),
    provider_request_id String,
    latency_ms   UInt32 CODEC(T64, ZSTD(1)),
    ttfb_ms      Nullable(UInt32),
    request_bytes UInt64 CODEC(T64, ZSTD(1)),
    response_bytes UInt64 CODEC(T64, ZSTD(1)),
    cache        LowCardinality(String),
    input_tokens Nullable(UInt64),
    output_tokens Nullable(UInt64),
    cache_read_tokens UInt64 CODEC(T64, ZSTD(1)),
    cache_write_tokens UInt64 CODEC(T64, ZSTD(1)),
    cache_write_1h_tokens UInt64 CODEC(T64, ZSTD(1)),
    reasoning_tokens UInt64 CODEC(T64, ZSTD(1)),
    audio_tokens UInt64 CODEC(T64, ZSTD(1)),
    image_tokens UInt64 CODEC(T64, ZSTD(1)),
    service_tier LowCardinality(String),
    usage_source LowCardinality(String),
    usage_raw    String CODEC(ZSTD(3)),
    -- shared.usage.Usage as JSON: what pricing again starts from
    usage        String CODEC(ZSTD(3)),
    cost         Nullable(Decimal(38, 12)),
    cost_by_class Map(String, Decimal(38, 12)),
    unit_prices  Map(String, Decimal(38, 12)),
    cost_source  LowCardinality(String),
    cost_reason  LowCardinality(String),
    cost_saved   Nullable(Decimal(38, 12)),
    price_version LowCardinality(String),
    version      UInt32,
    spool        LowCardinality(String),
    epoch        UInt64,
    sequence     UInt64 CODEC(T64, ZSTD(1)),
    ingested_at  DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(Delta(8), ZSTD(1)),
    INDEX ix_id id TYPE bloom_filter(0.001) GRANULARITY 4,
    INDEX ix_ingested_at ingested_at TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(started_at)
PRIMARY KEY (account, toStartOfHour(started_at), requester)
ORDER BY (account, toStartOfHour(started_at), requester, id)
TTL toDateTime(started_at) + INTERVAL 400 DAY DELETE
SETTINGS non_replicated_deduplication_window = 10000;

-- Beats of gateway instances: how far each has numbered its events.
CREATE TABLE IF NOT EXISTS metrion.gateways
(
    spool        LowCardinality(String),
    epoch        UInt64,
    gateway      LowCardinality(String),
    at           DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1)),
    sequence     UInt64,
    dropped      UInt64,
    closing      Bool,
    pending_bytes UInt64,
    ingested_at  DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(Delta(8), ZSTD(1))
)
ENGINE = ReplacingMergeTree
ORDER BY (spool, epoch, at)
TTL toDateTime(at) + INTERVAL 40 DAY DELETE
SETTINGS non_replicated_deduplication_window = 10000;

-- Tokens of answers that came from the cache: nobody was charged for them.
ALTER TABLE metrion.response_events
    ADD COLUMN IF NOT EXISTS saved_input_tokens UInt64 CODEC(T64, ZSTD(1)) AFTER cost_saved,
    ADD COLUMN IF NOT EXISTS saved_output_tokens UInt64 CODEC(T64, ZSTD(1)) AFTER saved_input_tokens;
