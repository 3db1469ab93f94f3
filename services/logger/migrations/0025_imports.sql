-- Requests that did not pass the gateway, from clients' own telemetry: usage_source is 'imported'. Their latency is the client's and not
-- counted; `source` is what filters and exports name it.
ALTER TABLE metrion.response_events
    ADD COLUMN IF NOT EXISTS is_imported Bool ALIAS usage_source = 'imported',
    ADD COLUMN IF NOT EXISTS source LowCardinality(String) ALIAS if(usage_source = 'imported', 'imported', 'gateway'),
    MODIFY COLUMN is_answered Bool ALIAS
        outcome = 'complete' AND status < 400 AND error_type = '' AND cache != 'HIT' AND usage_source != 'imported';
