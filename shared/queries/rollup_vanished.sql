-- After rollup_compute: set keys of older passes that no longer exist in these buckets to 0 requests.
INSERT INTO metrion.usage_15m
    (account, bucket, requester, token, provider, model, stream, status, outcome, cache, usage_source, priced, computed_at)
SELECT
    account, bucket, requester, token, provider, model, stream, status, outcome, cache, usage_source, priced,
    {at:DateTime64(3, 'UTC')}
FROM metrion.usage_15m FINAL
-- include older_quarters.sql
;
