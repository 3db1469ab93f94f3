-- Buckets from `since` to `until` (excluded), both starts of days, whose rollup differs from their requests; none unless something went
-- wrong. Requests and rollup are compared key by key, rollup and totals by their sums, faults too.
WITH
    live AS
    (
        SELECT bucket, account, requester, token, provider, model, stream, status, outcome, cache, usage_source, priced,
            requests, errors, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, cost,
            cost_saved, saved_input_tokens, saved_output_tokens, hits, estimated, estimated_cost, answered, answered_ms,
            first_bytes, first_byte_ms, latency_sum, ttfb_sum, last_at
        FROM metrion.usage_live
        WHERE hour >= {since:DateTime('UTC')} AND hour < {until:DateTime('UTC')}
    ),
    rollup AS
    (
        SELECT bucket, account, requester, token, provider, model, stream, status, outcome, cache, usage_source, priced,
            requests, errors, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, cost,
            cost_saved, saved_input_tokens, saved_output_tokens, hits, estimated, estimated_cost, answered, answered_ms,
            first_bytes, first_byte_ms, latency_sum, ttfb_sum, last_at, unpriced
        FROM metrion.usage_15m FINAL
        WHERE bucket >= {since:DateTime('UTC')} AND bucket < {until:DateTime('UTC')} AND requests > 0
    )
SELECT bucket
FROM
(
    SELECT bucket, cityHash64(account, requester, token, provider, model, stream, status, outcome, cache, usage_source,
            priced, requests, errors, ifNull(input_tokens, 0), ifNull(output_tokens, 0), cache_read_tokens,
            cache_write_tokens, reasoning_tokens, ifNull(cost, -1), ifNull(cost_saved, -1), saved_input_tokens,
            saved_output_tokens, hits, estimated, ifNull(estimated_cost, -1), answered, answered_ms, first_bytes,
            first_byte_ms, latency_sum, ttfb_sum, last_at) AS figures,
        source = 'live' AS is_live
    FROM (SELECT *, 'live' AS source FROM live UNION ALL SELECT * EXCEPT unpriced, 'rollup' FROM rollup)
)
GROUP BY bucket
HAVING sumIf(figures, is_live) != sumIf(figures, NOT is_live)
UNION DISTINCT
SELECT bucket
FROM
(
    SELECT bucket, requests, errors, input_tokens, output_tokens, cost, latency_sum, answered_ms, last_at, 1 AS sign FROM rollup
    UNION ALL
    SELECT bucket, requests, errors, input_tokens, output_tokens, cost, latency_sum, answered_ms, last_at, -1 FROM metrion.usage_totals_15m FINAL
    WHERE bucket >= {since:DateTime('UTC')} AND bucket < {until:DateTime('UTC')}
)
GROUP BY bucket
HAVING sum(requests * sign) != 0 OR sum(errors * sign) != 0 OR ifNull(sum(input_tokens * sign), 0) != 0
    OR ifNull(sum(output_tokens * sign), 0) != 0 OR ifNull(sum(cost * sign), 0) != 0 OR sum(latency_sum * sign) != 0
    OR sum(answered_ms * sign) != 0 OR maxIf(last_at, sign > 0) != maxIf(last_at, sign < 0 AND requests > 0)
UNION DISTINCT
SELECT bucket
FROM
(
    SELECT bucket, errors, errors AS failed, unpriced, 1 AS sign FROM rollup
    UNION ALL
    SELECT bucket, errors, if(errors > 0, requests, 0), if(priced, 0, requests), -1
    FROM metrion.usage_faults_15m FINAL
    WHERE bucket >= {since:DateTime('UTC')} AND bucket < {until:DateTime('UTC')}
)
GROUP BY bucket
HAVING sum(errors * sign) != 0 OR sum(failed * sign) != 0 OR sum(unpriced * sign) != 0
-- must not slow down concurrent inserts and queries
SETTINGS max_threads = 1;
