-- After rollup_vanished: requesters of the same quarter hours; see metrion.usage_requester_sums. Keys with 0 requests are written too.
INSERT INTO metrion.usage_requester_sums
(
    span, account, bucket, requester, requests, errors, hits, unpriced, estimated, input_tokens, output_tokens, cost, cost_saved,
    answered, answered_ms, models, last_at, computed_at
)
SELECT
    900, account, bucket, requester, sum(rollup.requests), sum(rollup.errors), sum(rollup.hits), sum(rollup.unpriced),
    sum(rollup.estimated), sum(rollup.input_tokens), sum(rollup.output_tokens), sum(rollup.cost),
    sum(rollup.cost_saved), sum(rollup.answered), sum(rollup.answered_ms),
    sumMapIf(map(model, rollup.requests), rollup.requests > 0), maxIf(rollup.last_at, rollup.requests > 0),
    {at:DateTime64(3, 'UTC')}
FROM metrion.usage_15m AS rollup FINAL
WHERE bucket IN (SELECT arrayJoin({buckets:Array(DateTime('UTC'))}))
GROUP BY account, bucket, requester;
