-- The turn of a session that a request belongs to, as its client names it; else the request's own id if it begins one; '' otherwise.
ALTER TABLE metrion.request_events ADD COLUMN IF NOT EXISTS turn String CODEC(ZSTD(1)) AFTER connection;
ALTER TABLE metrion.response_events
    ADD COLUMN IF NOT EXISTS turn String CODEC(ZSTD(1)) AFTER connection,
    ADD INDEX IF NOT EXISTS ix_connection connection TYPE bloom_filter(0.01) GRANULARITY 1;
