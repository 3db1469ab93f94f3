-- Days of `table`, usage_days or usage_session_days, from `since` to `until` (excluded), whose sums differ from usage_totals_15m; none unless something went wrong.
SELECT day AS bucket
FROM
(
    SELECT toStartOfDay(bucket) AS day, requests, errors, hits, unpriced, estimated, input_tokens, output_tokens, cost, cost_saved,
        answered, answered_ms, 1 AS sign
    FROM metrion.usage_totals_15m FINAL
    WHERE bucket >= {since:DateTime('UTC')} AND bucket < {until:DateTime('UTC')} AND requests > 0
    UNION ALL
    SELECT bucket, requests, errors, hits, unpriced, estimated, input_tokens, output_tokens, cost, cost_saved, answered, answered_ms, -1
    FROM metrion.{table:Identifier} FINAL
    WHERE bucket >= {since:DateTime('UTC')} AND bucket < {until:DateTime('UTC')}
)
GROUP BY day
HAVING sum(requests * sign) != 0 OR sum(errors * sign) != 0 OR sum(hits * sign) != 0 OR sum(unpriced * sign) != 0
    OR sum(estimated * sign) != 0 OR ifNull(sum(input_tokens * sign), 0) != 0 OR ifNull(sum(output_tokens * sign), 0) != 0
    OR ifNull(sum(cost * sign), 0) != 0 OR ifNull(sum(cost_saved * sign), 0) != 0 OR sum(answered * sign) != 0
    OR sum(answered_ms * sign) != 0
-- must not slow down concurrent inserts and queries
SETTINGS max_threads = 1;
