-- After rollup_totals_vanished: usage_totals_15m by four hours, of the spans that begin at `spans`. Keys with 0 requests go along.
INSERT INTO metrion.usage_totals_4h
(
    account, bucket, token, provider, model, status, outcome, cache, usage_source, priced, requests, errors, unpriced,
    input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, cost, cost_by_class, cost_saved,
    saved_input_tokens, saved_output_tokens, latency_count, latency_sum, ttfb_count, ttfb_sum, computed_at
)
SELECT
    account, toStartOfInterval(quarter.bucket, INTERVAL 4 HOUR) AS start, token, provider, model, status, outcome, cache,
    usage_source, priced, sum(requests), sum(errors), sum(unpriced), sum(input_tokens), sum(output_tokens),
    sum(cache_read_tokens), sum(cache_write_tokens), sum(reasoning_tokens), sum(cost), sumMap(cost_by_class), sum(cost_saved),
    sum(saved_input_tokens), sum(saved_output_tokens), sum(latency_count), sum(latency_sum), sum(ttfb_count), sum(ttfb_sum),
    {at:DateTime64(3, 'UTC')}
FROM metrion.usage_totals_15m AS quarter FINAL
WHERE start IN (SELECT arrayJoin({spans:Array(DateTime('UTC'))}))
  AND quarter.bucket >= arrayMin({spans:Array(DateTime('UTC'))})
  AND quarter.bucket < arrayMax({spans:Array(DateTime('UTC'))}) + INTERVAL 4 HOUR
GROUP BY account, start, token, provider, model, status, outcome, cache, usage_source, priced;
