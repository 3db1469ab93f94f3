-- What did one session cost, whenever its requests came, in total (`whole`), by model and by agent (`of`: '', 'model', 'agent')?
-- `account` '' means all accounts: one group per account, highest cost first. The index of sessions finds the requests.
SELECT
    r.account AS account,
    r.provider AS provider,
    r.model_name AS name,
    r.agent AS agent,
    multiIf(NOT grouping(agent), 'agent', NOT grouping(provider), 'model', '') AS of,
    arraySort(groupUniqArrayIf(9)(r.requester, r.requester != '')) AS requesters,
    arraySort(groupUniqArrayIf(9)(trim(concat(r.client, ' ', r.client_version)), r.client != '')) AS clients,
    arraySort(groupUniqArrayIf(9)(r.agent, r.agent != '')) AS agents,
    min(r.started_at) AS first_at,
    max(r.started_at) AS last_start,
    max(r.started_at + toIntervalMillisecond(r.latency_ms)) AS last_at,
    dateDiff('millisecond', first_at, last_at) AS duration,
    count() AS requests,
    countIf(r.is_error) AS errors,
    countIf(r.is_cache_hit) AS hits,
    sum(r.input_tokens) AS input_tokens,
    sum(r.output_tokens) AS output_tokens,
    sumIf(r.cache_read_tokens, r.input_tokens IS NOT NULL) AS cache_read,
    cache_read / nullIf(input_tokens, 0) * 100 AS cache_share,
    sum(r.cost) AS cost,
    sum(r.cost_equivalent) AS equivalent,
    countIf(r.cost IS NULL) AS unpriced,
    countIf(r.is_estimated) AS estimated,
    sumIf(r.cost_saved, r.is_cache_hit) AS saved
FROM metrion.response_events AS r FINAL
PREWHERE r.session = {session:String}
WHERE ({account:String} = '' OR r.account = {account:String})
GROUP BY GROUPING SETS ((account), (account, provider, name), (account, agent))
ORDER BY of, cost DESC NULLS LAST, requests DESC, account, provider, name, agent
SETTINGS do_not_merge_across_partitions_select_final = 1;
