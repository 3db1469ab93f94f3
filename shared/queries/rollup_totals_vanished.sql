-- After rollup_totals: does for its keys what rollup_vanished does for those with a requester.
INSERT INTO metrion.usage_totals_15m
    (account, bucket, token, provider, model, stream, status, outcome, cache, usage_source, priced, computed_at)
SELECT
    account, bucket, token, provider, model, stream, status, outcome, cache, usage_source, priced,
    {at:DateTime64(3, 'UTC')}
FROM metrion.usage_totals_15m FINAL
WHERE bucket IN (SELECT arrayJoin({buckets:Array(DateTime('UTC'))}))
  AND computed_at < {at:DateTime64(3, 'UTC')} AND requests > 0;
