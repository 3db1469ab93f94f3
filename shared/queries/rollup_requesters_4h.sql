-- After rollup_requesters: the same by four hours, of the spans that begin at `spans`.
INSERT INTO metrion.usage_requesters
(
    span, account, bucket, requester, requests, errors, hits, unpriced, estimated, input_tokens, output_tokens, cost, cost_saved,
    answered, answered_ms, models, computed_at
)
SELECT
    14400, account, toStartOfInterval(quarter.bucket, INTERVAL 4 HOUR) AS start, requester, sum(requests), sum(errors), sum(hits),
    sum(unpriced), sum(estimated), sum(input_tokens), sum(output_tokens), sum(cost), sum(cost_saved), sum(answered),
    sum(answered_ms), sumMap(models), {at:DateTime64(3, 'UTC')}
FROM metrion.usage_requesters AS quarter FINAL
WHERE quarter.span = 900 AND start IN (SELECT arrayJoin({spans:Array(DateTime('UTC'))}))
  AND quarter.bucket >= arrayMin({spans:Array(DateTime('UTC'))})
  AND quarter.bucket < arrayMax({spans:Array(DateTime('UTC'))}) + INTERVAL 4 HOUR
GROUP BY account, start, requester;
