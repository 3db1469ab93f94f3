-- The WebSocket connection that a response came over, by its id; '' for plain HTTP.
ALTER TABLE metrion.request_events ADD COLUMN IF NOT EXISTS connection String CODEC(ZSTD(1)) AFTER billing;
ALTER TABLE metrion.response_events ADD COLUMN IF NOT EXISTS connection String CODEC(ZSTD(1)) AFTER billing;
