-- One row a batch whose results were seen: under whom and when it is booked, fixed by the first look at them. Its cost is a
-- row of response_events with the id that stands here, however often the results are fetched. The first claim wins.
CREATE TABLE IF NOT EXISTS metrion.batches
(
    account      LowCardinality(String),
    provider     LowCardinality(String),
    batch        String,
    id           UUID,
    token        LowCardinality(String),
    requester    String,
    metadata     Map(String, String),
    dialect      LowCardinality(String),
    gateway      LowCardinality(String),
    started_at   DateTime64(6, 'UTC'),
    -- microseconds until a far day: of two claims the earlier one is the newer version
    priority     UInt64,
    ingested_at  DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(priority)
ORDER BY (account, provider, batch);
