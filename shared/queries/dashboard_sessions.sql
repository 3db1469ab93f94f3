-- Measures of each session in a period, ordered by `measure`, at most `limit` after `offset`; `groups` is the number of sessions, the
-- columns all_… are their totals. A session belongs to one account. Conditions on which all versions of a request agree are in
-- PREWHERE, so that FINAL merges only requests with a session.
SELECT
    r.account AS account,
    r.session AS session,
    arraySort(groupUniqArrayIf(4)(r.requester, r.requester != '')) AS requesters,
    arraySort(groupUniqArrayIf(4)(r.client, r.client != '')) AS clients,
    arraySort(groupUniqArrayIf(9)(r.model_name, r.model_name != '')) AS models,
    min(r.started_at) AS first_at,
    max(r.started_at + toIntervalMillisecond(r.latency_ms)) AS last_at,
    dateDiff('millisecond', first_at, last_at) AS duration,
    count() AS requests,
    countIf(r.is_error) AS errors,
    sum(r.input_tokens) AS input_tokens,
    sum(r.output_tokens) AS output_tokens,
    ifNull(input_tokens, 0) + ifNull(output_tokens, 0) AS tokens,
    sumIf(r.cache_read_tokens, r.input_tokens IS NOT NULL) AS cache_read,
    cache_read / nullIf(input_tokens, 0) * 100 AS cache_share,
    sum(r.cost) AS cost,
    sum(r.cost_equivalent) AS equivalent,
    countIf(r.cost IS NULL) AS unpriced,
    countIf(r.is_estimated) AS estimated,
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
FROM metrion.response_events AS r FINAL
PREWHERE r.session != ''
    AND r.started_at >= {since:DateTime64(6, 'UTC')} AND r.started_at < {until:DateTime64(6, 'UTC')}
WHERE true
  -- include request_filters.sql
GROUP BY account, session
ORDER BY {measure:Identifier} DESC NULLS LAST, equivalent DESC NULLS LAST, requests DESC, account, session
LIMIT {limit:UInt32} OFFSET {offset:UInt32}
SETTINGS do_not_merge_across_partitions_select_final = 1;
