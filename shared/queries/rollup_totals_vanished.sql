-- After rollup_totals: set keys of older passes that no longer exist in these buckets to 0 requests.
INSERT INTO metrion.usage_totals_15m
    (account, bucket, token, provider, model, stream, status, outcome, cache, usage_source, priced, computed_at)
SELECT
    account, bucket, token, provider, model, stream, status, outcome, cache, usage_source, priced,
    {at:DateTime64(3, 'UTC')}
FROM metrion.usage_totals_15m FINAL
-- include older_quarters.sql
;
