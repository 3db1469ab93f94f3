-- One row per version of views.sql that was applied.
CREATE TABLE IF NOT EXISTS metrion.schema_versions
(
    version      UInt32,
    applied_at   DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(applied_at)
ORDER BY version;
