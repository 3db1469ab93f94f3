-- Why a version of 3 and up is there: "repricing <id>", a row of metrion.repricings.
ALTER TABLE metrion.response_events ADD COLUMN IF NOT EXISTS note String CODEC(ZSTD(3)) AFTER version;

-- One row a time that history was priced again: who did it, to what, by which prices, and what it changed. A row with
-- finished = 0 and none with 1 was cut short: run it again, it goes on where it stopped.
CREATE TABLE IF NOT EXISTS metrion.repricings
(
    id           UUID,
    at           DateTime64(3, 'UTC'),
    by           String,
    note         String,
    filters      Map(String, String),
    price_version LowCardinality(String),
    finished     UInt8,
    examined     UInt64,
    changed      UInt64,
    newly_priced UInt64,
    newly_unknown UInt64,
    cost_before  Decimal(38, 12),
    cost_after   Decimal(38, 12)
)
ENGINE = ReplacingMergeTree(finished)
ORDER BY (at, id);
