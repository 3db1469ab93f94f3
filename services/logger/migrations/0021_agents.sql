-- What a client says of itself. Sessions are looked up by name over a month's requests, which come in order of time.
ALTER TABLE metrion.request_events
    ADD COLUMN IF NOT EXISTS client LowCardinality(String) AFTER metadata,
    ADD COLUMN IF NOT EXISTS client_version LowCardinality(String) AFTER client,
    ADD COLUMN IF NOT EXISTS session String CODEC(ZSTD(1)) AFTER client_version,
    ADD COLUMN IF NOT EXISTS agent LowCardinality(String) AFTER session;
ALTER TABLE metrion.response_events
    ADD COLUMN IF NOT EXISTS client LowCardinality(String) AFTER metadata,
    ADD COLUMN IF NOT EXISTS client_version LowCardinality(String) AFTER client,
    ADD COLUMN IF NOT EXISTS session String CODEC(ZSTD(1)) AFTER client_version,
    ADD COLUMN IF NOT EXISTS agent LowCardinality(String) AFTER session,
    ADD INDEX IF NOT EXISTS ix_session session TYPE bloom_filter(0.01) GRANULARITY 1;
