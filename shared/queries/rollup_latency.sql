-- After rollup_totals: latency of the same quarter hours; see metrion.usage_latency_states. Empty states are written too.
INSERT INTO metrion.usage_latency_states (span, whole, account, bucket, provider, model, answered, latency, ttfb, computed_at)
SELECT
    900, arrayJoin([0, 1]) AS is_whole, account, bucket, if(is_whole, '', provider) AS of_provider, if(is_whole, '', model) AS of_model,
    sum(rollup.answered),
    quantilesTDigestMergeStateIf(0.5, 0.95, 0.99)(rollup.latency, rollup.answered > 0),
    quantilesTDigestMergeStateIf(0.5, 0.95, 0.99)(rollup.ttfb, rollup.answered > 0),
    {at:DateTime64(3, 'UTC')}
FROM metrion.usage_totals_15m AS rollup FINAL
WHERE bucket IN (SELECT arrayJoin({buckets:Array(DateTime('UTC'))}))
GROUP BY is_whole, account, bucket, of_provider, of_model;
