-- After rollup_latency: the same by four hours, of the spans that begin at `spans`.
INSERT INTO metrion.usage_latency (span, whole, account, bucket, provider, model, answered, latency, ttfb, computed_at)
SELECT
    14400, whole, account, toStartOfInterval(quarter.bucket, INTERVAL 4 HOUR) AS start, provider, model, sum(answered),
    quantilesTDigestMergeState(0.5, 0.95, 0.99)(quarter.latency), quantilesTDigestMergeState(0.5, 0.95, 0.99)(quarter.ttfb),
    {at:DateTime64(3, 'UTC')}
FROM metrion.usage_latency AS quarter FINAL
WHERE quarter.span = 900 AND start IN (SELECT arrayJoin({spans:Array(DateTime('UTC'))}))
  AND quarter.bucket >= arrayMin({spans:Array(DateTime('UTC'))})
  AND quarter.bucket < arrayMax({spans:Array(DateTime('UTC'))}) + INTERVAL 4 HOUR
GROUP BY whole, account, start, provider, model;
