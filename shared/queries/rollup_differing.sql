-- Which buckets of the day that begins at `day` does the rollup hold otherwise than their requests say? None, unless something went
-- wrong. Requests and rollup are compared key by key, rollup and what is made from it by their sums. `span`: 900 for a quarter of
-- an hour, 14400 where the four hours are wrong that begin with `bucket`.
WITH
    live AS
    (
        SELECT bucket, account, requester, token, provider, model, stream, status, outcome, cache, usage_source, priced,
            requests, errors, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, cost,
            cost_saved, saved_input_tokens, saved_output_tokens, latency_sum, ttfb_sum
        FROM metrion.usage_live
        WHERE hour >= {day:DateTime('UTC')} AND hour < {day:DateTime('UTC')} + INTERVAL 1 DAY
    ),
    rollup AS
    (
        SELECT bucket, account, requester, token, provider, model, stream, status, outcome, cache, usage_source, priced,
            requests, errors, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, cost,
            cost_saved, saved_input_tokens, saved_output_tokens, latency_sum, ttfb_sum
        FROM metrion.usage_15m FINAL
        WHERE bucket >= {day:DateTime('UTC')} AND bucket < {day:DateTime('UTC')} + INTERVAL 1 DAY AND requests > 0
    ),
    totals AS
    (
        SELECT bucket, status, outcome, cache, requests, errors, input_tokens, output_tokens, cost, latency_count, latency_sum
        FROM metrion.usage_totals_15m FINAL
        WHERE bucket >= {day:DateTime('UTC')} AND bucket < {day:DateTime('UTC')} + INTERVAL 1 DAY AND requests > 0
    )
SELECT bucket, 900 AS span
FROM
(
    SELECT bucket, cityHash64(account, requester, token, provider, model, stream, status, outcome, cache, usage_source,
            priced, requests, errors, ifNull(input_tokens, 0), ifNull(output_tokens, 0), cache_read_tokens,
            cache_write_tokens, reasoning_tokens, ifNull(cost, -1), ifNull(cost_saved, -1), saved_input_tokens,
            saved_output_tokens, latency_sum, ttfb_sum) AS figures,
        source = 'live' AS is_live
    FROM (SELECT *, 'live' AS source FROM live UNION ALL SELECT *, 'rollup' FROM rollup)
)
GROUP BY bucket
HAVING sumIf(figures, is_live) != sumIf(figures, NOT is_live)
UNION DISTINCT
SELECT start AS bucket, length AS span
FROM
(
    SELECT 'totals' AS part, 900 AS length, bucket AS start, requests, errors, input_tokens, output_tokens, cost, latency_sum, 1 AS sign
    FROM rollup
    UNION ALL
    SELECT 'totals', 900, bucket, requests, errors, input_tokens, output_tokens, cost, latency_sum, -1 FROM totals
    UNION ALL
    SELECT 'totals', 14400, toStartOfInterval(bucket, INTERVAL 4 HOUR), requests, errors, input_tokens, output_tokens, cost, latency_sum, 1
    FROM totals
    UNION ALL
    SELECT 'totals', 14400, bucket, requests, errors, input_tokens, output_tokens, cost, latency_sum, -1
    FROM metrion.usage_totals_4h FINAL
    WHERE bucket >= {day:DateTime('UTC')} AND bucket < {day:DateTime('UTC')} + INTERVAL 1 DAY
    UNION ALL
    SELECT 'requesters', arrayJoin([900, 14400]) AS length, toDateTime(intDiv(toUnixTimestamp(bucket), length) * length, 'UTC'), requests, errors,
        input_tokens, output_tokens, cost, 0, 1
    FROM totals
    UNION ALL
    SELECT 'requesters', span, bucket, requests, errors, input_tokens, output_tokens, cost, 0, -1
    FROM metrion.usage_requesters FINAL
    WHERE bucket >= {day:DateTime('UTC')} AND bucket < {day:DateTime('UTC')} + INTERVAL 1 DAY
    UNION ALL
    SELECT 'latency', arrayJoin([900, 14400]) AS length, toDateTime(intDiv(toUnixTimestamp(bucket), length) * length, 'UTC'), latency_count, 0, 0, 0, 0, 0, 2
    FROM totals
    WHERE outcome = 'complete' AND status < 400 AND cache != 'HIT'
    UNION ALL
    SELECT 'latency', span, bucket, answered, 0, 0, 0, 0, 0, -1  -- each is there twice, see `whole`
    FROM metrion.usage_latency FINAL
    WHERE bucket >= {day:DateTime('UTC')} AND bucket < {day:DateTime('UTC')} + INTERVAL 1 DAY
)
GROUP BY part, length, start
HAVING sum(requests * sign) != 0 OR sum(errors * sign) != 0 OR ifNull(sum(input_tokens * sign), 0) != 0
    OR ifNull(sum(output_tokens * sign), 0) != 0 OR ifNull(sum(cost * sign), 0) != 0 OR sum(latency_sum * sign) != 0
-- beside inserts and questions, which should not wait for it
SETTINGS max_threads = 1;
