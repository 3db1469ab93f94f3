-- After rollup_latency: the same for wider spans of `span` seconds that start at `spans`, from the next narrower ones.
INSERT INTO metrion.usage_latency_states (span, whole, account, bucket, provider, model, answered, latency, ttfb, computed_at)
SELECT
    {span:UInt32}, whole, account,
    toDateTime(intDiv(toUnixTimestamp(quarter.bucket), {span:UInt32}) * {span:UInt32}, 'UTC') AS start,
    provider, model, sum(answered),
    quantilesTDigestMergeState(0.5, 0.95, 0.99)(quarter.latency), quantilesTDigestMergeState(0.5, 0.95, 0.99)(quarter.ttfb),
    {at:DateTime64(3, 'UTC')}
FROM metrion.usage_latency_states AS quarter FINAL
WHERE quarter.span = {narrower:UInt32} AND start IN (SELECT arrayJoin({spans:Array(DateTime('UTC'))}))
  AND quarter.bucket >= arrayMin({spans:Array(DateTime('UTC'))})
  AND quarter.bucket < arrayMax({spans:Array(DateTime('UTC'))}) + {span:UInt32}
GROUP BY whole, account, start, provider, model;
