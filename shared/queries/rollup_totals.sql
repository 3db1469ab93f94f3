-- After rollup_vanished: the same buckets without the requester.
INSERT INTO metrion.usage_totals_15m
(
    account, bucket, token, provider, model, stream, status, outcome, cache, usage_source, priced, requests, errors,
    unpriced, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, cost, cost_by_class,
    cost_saved, saved_input_tokens, saved_output_tokens, latency_count, latency_sum, latency, ttfb_count, ttfb_sum, ttfb,
    last_at, computed_at
)
SELECT
    account, bucket, token, provider, model, stream, status, outcome, cache, usage_source, priced, sum(rollup.requests),
    sum(errors), sum(unpriced), sum(input_tokens), sum(output_tokens), sum(cache_read_tokens), sum(cache_write_tokens),
    sum(reasoning_tokens), sum(cost), sumMap(cost_by_class), sum(cost_saved), sum(saved_input_tokens),
    sum(saved_output_tokens), sum(latency_count), sum(latency_sum),
    quantilesTDigestMergeState(0.5, 0.95, 0.99)(latency), sum(ttfb_count), sum(ttfb_sum),
    quantilesTDigestMergeState(0.5, 0.95, 0.99)(ttfb), max(rollup.last_at), {at:DateTime64(3, 'UTC')}
FROM metrion.usage_15m AS rollup FINAL
WHERE bucket IN (SELECT arrayJoin({buckets:Array(DateTime('UTC'))})) AND requests > 0
GROUP BY account, bucket, token, provider, model, stream, status, outcome, cache, usage_source, priced;
