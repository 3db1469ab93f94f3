-- What a provider says that a day of UTC cost, as `metrion reconcile --save` read it from the provider's report: for the whole
-- organization, whoever caused it. Saving a day again replaces it.
CREATE TABLE IF NOT EXISTS metrion.reported_costs
(
    provider     LowCardinality(String),
    day          Date,
    cost         Decimal(38, 12),
    saved_at     DateTime64(3, 'UTC'),
    by           String
)
ENGINE = ReplacingMergeTree(saved_at)
ORDER BY (provider, day);
