-- After rollup_totals: how long, in the same quarters of an hour; see metrion.usage_latency_states. States of nothing go along.
INSERT INTO metrion.usage_latency_states (span, whole, account, bucket, provider, model, answered, latency, ttfb, computed_at)
WITH outcome = 'complete' AND status < 400 AND cache != 'HIT' AND requests > 0 AS is_answered
SELECT
    900, arrayJoin([0, 1]) AS is_whole, account, bucket, if(is_whole, '', provider) AS of_provider, if(is_whole, '', model) AS of_model,
    sumIf(rollup.latency_count, is_answered),
    quantilesTDigestMergeStateIf(0.5, 0.95, 0.99)(rollup.latency, is_answered),
    quantilesTDigestMergeStateIf(0.5, 0.95, 0.99)(rollup.ttfb, is_answered),
    {at:DateTime64(3, 'UTC')}
FROM metrion.usage_totals_15m AS rollup FINAL
WHERE bucket IN (SELECT arrayJoin({buckets:Array(DateTime('UTC'))}))
GROUP BY is_whole, account, bucket, of_provider, of_model;
