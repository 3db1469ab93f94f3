-- Measures of each session in a period, ordered by `measure`, at most `limit` after `offset`; `groups` is the number of sessions, the
-- columns all_… are their totals. A session belongs to one account. `source` has only requests with a session, after the page's filters:
-- see services/dashboard/queries/session_sums.py.
SELECT
    u.account AS account,
    u.session AS session,
    max(u.ended_at) AS last_at,
    dateDiff('millisecond', min(u.first_at), last_at) AS duration,
    sum(u.requests) AS requests,
    sum(u.errors) AS errors,
    sum(u.input_tokens) AS input_tokens,
    sum(u.output_tokens) AS output_tokens,
    ifNull(input_tokens, 0) + ifNull(output_tokens, 0) AS tokens,
    sum(u.known_cache_read) AS cache_read,
    cache_read / nullIf(input_tokens, 0) * 100 AS cache_share,
    sum(u.cost) AS cost,
    sum(u.equivalent) AS equivalent,
    sum(u.unpriced) AS unpriced,
    sum(u.estimated) AS estimated,
    count() OVER () AS groups,
    sum(requests) OVER () AS all_requests,
    sum(errors) OVER () AS all_errors,
    sum(input_tokens) OVER () AS all_input_tokens,
    sum(output_tokens) OVER () AS all_output_tokens,
    sum(cache_read) OVER () AS all_cache_read,
    sum(cost) OVER () AS all_cost,
    sum(equivalent) OVER () AS all_equivalent,
    sum(unpriced) OVER () AS all_unpriced,
    sum(estimated) OVER () AS all_estimated
FROM metrion.{source:Identifier} AS u
WHERE u.bucket >= {since:DateTime64(6, 'UTC')} AND u.bucket < {until:DateTime64(6, 'UTC')}
GROUP BY account, session
ORDER BY {measure:Identifier} DESC NULLS LAST, equivalent DESC NULLS LAST, requests DESC, account, session
LIMIT {limit:UInt32} OFFSET {offset:UInt32};
