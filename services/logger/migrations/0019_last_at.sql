-- When the last request of each row came. Rows of before have the beginning of their span until they are computed again, which
-- the first pass of the rollup does for all sums (from the quarters of an hour), and the nightly one for the quarters.
ALTER TABLE metrion.usage_15m
    ADD COLUMN IF NOT EXISTS last_at DateTime64(6, 'UTC') DEFAULT bucket CODEC(Delta(8), ZSTD(1)) AFTER ttfb;
ALTER TABLE metrion.usage_totals_15m
    ADD COLUMN IF NOT EXISTS last_at DateTime64(6, 'UTC') DEFAULT bucket CODEC(Delta(8), ZSTD(1)) AFTER ttfb;
ALTER TABLE metrion.usage_sums
    ADD COLUMN IF NOT EXISTS last_at DateTime64(6, 'UTC') DEFAULT bucket CODEC(Delta(8), ZSTD(1)) AFTER interrupted;
ALTER TABLE metrion.usage_requester_sums
    ADD COLUMN IF NOT EXISTS last_at DateTime64(6, 'UTC') DEFAULT bucket CODEC(Delta(8), ZSTD(1)) AFTER models;
