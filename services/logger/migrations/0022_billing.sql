-- How the provider bills a request: 'subscription' where it was sent with the sign-in of one, '' for all others. Such a request costs
-- nothing by itself; cost_equivalent is what it would have cost by the API's prices: 0 for all others, NULL if unknown.
ALTER TABLE metrion.request_events ADD COLUMN IF NOT EXISTS billing LowCardinality(String) AFTER agent;
ALTER TABLE metrion.response_events
    ADD COLUMN IF NOT EXISTS billing LowCardinality(String) AFTER agent,
    ADD COLUMN IF NOT EXISTS cost_equivalent Nullable(Decimal(38, 12)) DEFAULT 0 AFTER cost_saved;
-- A batch keeps the session of the first look at its results, whoever looks later.
ALTER TABLE metrion.batches
    ADD COLUMN IF NOT EXISTS client LowCardinality(String) AFTER metadata,
    ADD COLUMN IF NOT EXISTS client_version LowCardinality(String) AFTER client,
    ADD COLUMN IF NOT EXISTS session String AFTER client_version,
    ADD COLUMN IF NOT EXISTS agent LowCardinality(String) AFTER session;
