-- After rollup_vanished: who, in the same quarters of an hour; see metrion.usage_requester_sums. Keys with 0 requests go along.
INSERT INTO metrion.usage_requester_sums
(
    span, account, bucket, requester, requests, errors, hits, unpriced, estimated, input_tokens, output_tokens, cost, cost_saved,
    answered, answered_ms, models, last_at, computed_at
)
WITH outcome = 'complete' AND status < 400 AND cache != 'HIT' AS is_answered
SELECT
    900, account, bucket, requester, sum(rollup.requests), sum(rollup.errors), sumIf(rollup.requests, cache = 'HIT'), sum(rollup.unpriced),
    sumIf(rollup.requests, priced AND usage_source = 'estimated'), sum(rollup.input_tokens), sum(rollup.output_tokens), sum(rollup.cost),
    sum(rollup.cost_saved), sumIf(rollup.latency_count, is_answered), sumIf(rollup.latency_sum, is_answered),
    sumMapIf(map(model, rollup.requests), rollup.requests > 0), maxIf(rollup.last_at, rollup.requests > 0),
    {at:DateTime64(3, 'UTC')}
FROM metrion.usage_15m AS rollup FINAL
WHERE bucket IN (SELECT arrayJoin({buckets:Array(DateTime('UTC'))}))
GROUP BY account, bucket, requester;
