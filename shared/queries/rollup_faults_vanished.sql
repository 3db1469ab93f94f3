-- After rollup_faults: set keys of older passes that no longer exist in these buckets to 0 requests.
INSERT INTO metrion.usage_faults_15m
    (account, bucket, requester, token, provider, model, status, outcome, error_type, cache, usage_source, priced, cost_reason, computed_at)
SELECT
    account, bucket, requester, token, provider, model, status, outcome, error_type, cache, usage_source, priced, cost_reason,
    {at:DateTime64(3, 'UTC')}
FROM metrion.usage_faults_15m FINAL
-- include older_quarters.sql
;
