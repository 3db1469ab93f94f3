-- Spans whose sums differ from usage_totals_15m, from `since` to `until` (excluded); none unless something went wrong.
-- `span`: length in seconds of the span starting at `bucket`.
WITH totals AS
(
    SELECT bucket, requests, errors, input_tokens, output_tokens, cost, answered, last_at
    FROM metrion.usage_totals_15m FINAL
    WHERE bucket >= {since:DateTime('UTC')} AND bucket < {until:DateTime('UTC')} AND requests > 0
)
SELECT start AS bucket, length AS span
FROM
(
    SELECT arrayJoin(['model', 'status', 'token']) AS part, arrayJoin([900, 3600, 14400, 86400]) AS length,
        toDateTime(intDiv(toUnixTimestamp(bucket), length) * length, 'UTC') AS start,
        requests, errors, input_tokens, output_tokens, cost, last_at, 1 AS sign
    FROM totals
    UNION ALL
    SELECT dims, span, bucket, requests, errors, input_tokens, output_tokens, cost, last_at, -1
    FROM metrion.usage_sums FINAL
    WHERE bucket >= {since:DateTime('UTC')} AND bucket < {until:DateTime('UTC')}
    UNION ALL
    SELECT 'requesters', arrayJoin([900, 3600, 14400, 86400]) AS length, toDateTime(intDiv(toUnixTimestamp(bucket), length) * length, 'UTC'),
        requests, errors, input_tokens, output_tokens, cost, last_at, 1
    FROM totals
    UNION ALL
    SELECT 'requesters', span, bucket, requests, errors, input_tokens, output_tokens, cost, last_at, -1
    FROM metrion.usage_requester_sums FINAL
    WHERE bucket >= {since:DateTime('UTC')} AND bucket < {until:DateTime('UTC')}
    UNION ALL
    -- each complete response is stored twice, see `whole`
    SELECT 'latency', arrayJoin([900, 3600, 14400, 86400]) AS length, toDateTime(intDiv(toUnixTimestamp(bucket), length) * length, 'UTC'),
        answered, 0, 0, 0, 0, toDateTime64(0, 6, 'UTC'), 2
    FROM totals
    UNION ALL
    SELECT 'latency', span, bucket, answered, 0, 0, 0, 0, toDateTime64(0, 6, 'UTC'), -1
    FROM metrion.usage_latency_states FINAL
    WHERE bucket >= {since:DateTime('UTC')} AND bucket < {until:DateTime('UTC')}
)
GROUP BY part, length, start
HAVING sum(requests * sign) != 0 OR sum(errors * sign) != 0 OR ifNull(sum(input_tokens * sign), 0) != 0
    OR ifNull(sum(output_tokens * sign), 0) != 0 OR ifNull(sum(cost * sign), 0) != 0
    OR maxIf(last_at, sign > 0) != maxIf(last_at, sign < 0 AND requests > 0)
-- must not slow down concurrent inserts and queries
SETTINGS max_threads = 1;
