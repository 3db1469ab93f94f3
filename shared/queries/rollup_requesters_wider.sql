-- After rollup_requesters: the same for wider spans of `span` seconds that start at `spans`, from the next narrower ones.
INSERT INTO metrion.usage_requester_sums
(
    span, account, bucket, requester, requests, errors, hits, unpriced, estimated, input_tokens, output_tokens, cost, cost_saved,
    answered, answered_ms, models, last_at, computed_at
)
SELECT
    {span:UInt32}, account,
    toDateTime(intDiv(toUnixTimestamp(quarter.bucket), {span:UInt32}) * {span:UInt32}, 'UTC') AS start,
    requester, sum(requests), sum(errors), sum(hits),
    sum(unpriced), sum(estimated), sum(input_tokens), sum(output_tokens), sum(cost), sum(cost_saved), sum(answered),
    sum(answered_ms), sumMap(models), max(quarter.last_at), {at:DateTime64(3, 'UTC')}
FROM metrion.usage_requester_sums AS quarter FINAL
WHERE quarter.span = {narrower:UInt32} AND start IN (SELECT arrayJoin({spans:Array(DateTime('UTC'))}))
  AND quarter.bucket >= arrayMin({spans:Array(DateTime('UTC'))})
  AND quarter.bucket < arrayMax({spans:Array(DateTime('UTC'))}) + {span:UInt32}
GROUP BY account, start, requester;
