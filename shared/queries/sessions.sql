-- Which sessions of coding agents cost most?
-- One row per account and session, highest cost first; requests without a session are left out, and so are a session's requests
-- outside the period. `duration_s` is the time from the first request's start to the last one's end. `cost_usd` is the sum of known
-- costs, NULL if none is known; `unpriced` counts requests without a cost, `estimated_usd` is the estimated part of `cost_usd`.
-- Requests of a subscription cost 0: `equivalent_usd` is what they would have cost at API prices.
-- `cache_read_percent` is the share of input that came from the provider's cache, for requests with known input.
SELECT
    account,
    session,
    arrayStringConcat(arraySort(groupUniqArrayIf(10)(client, client != '')), ', ') AS clients,
    arrayStringConcat(arraySort(groupUniqArrayIf(10)(requester, requester != '')), ', ') AS requesters,
    min(started_at) AS first_at,
    dateDiff('second', first_at, max(started_at + toIntervalMillisecond(latency_ms))) AS duration_s,
    count() AS requests,
    countIf(is_error) AS errors,
    arrayStringConcat(arraySort(groupUniqArrayIf(10)(model_name, model_name != '')), ', ') AS models,
    sum(r.input_tokens) AS input_tokens,
    sum(r.output_tokens) AS output_tokens,
    round(100 * sumIf(r.cache_read_tokens, r.input_tokens IS NOT NULL) / nullIf(sum(r.input_tokens), 0), 1) AS cache_read_percent,
    sum(cost) AS cost_usd,
    sumIf(ifNull(cost, 0), is_estimated) AS estimated_usd,
    countIf(cost IS NULL) AS unpriced,
    sum(cost_equivalent) AS equivalent_usd
FROM metrion.requests AS r
WHERE started_at >= {since:DateTime64(6, 'UTC')} AND started_at < {until:DateTime64(6, 'UTC')}
  AND ({account:String} = '' OR account = {account:String})
  AND session != ''
GROUP BY account, session
ORDER BY cost_usd DESC NULLS LAST, equivalent_usd DESC NULLS LAST, requests DESC, account, session
LIMIT {limit:UInt32};
