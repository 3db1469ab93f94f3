-- After rollup_faults: does for its keys what rollup_vanished does for those of usage_15m.
INSERT INTO metrion.usage_faults_15m
    (account, bucket, requester, token, provider, model, status, outcome, error_type, cache, usage_source, priced, cost_reason, computed_at)
SELECT
    account, bucket, requester, token, provider, model, status, outcome, error_type, cache, usage_source, priced, cost_reason,
    {at:DateTime64(3, 'UTC')}
FROM metrion.usage_faults_15m FINAL
WHERE bucket IN (SELECT arrayJoin({buckets:Array(DateTime('UTC'))}))
  AND computed_at < {at:DateTime64(3, 'UTC')} AND requests > 0;
