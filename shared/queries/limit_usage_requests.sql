-- The same from the requests themselves, for limits of requests, models or metadata, which the rollup does not tell apart. Requests
-- that a limit refused do not count, nor do imported ones. `each_model`: by the model requested.
SELECT
    if({each_token:Bool}, token, '') AS token_name,
    if({each_requester:Bool}, requester, '') AS requester_name,
    if({each_model:Bool}, model_requested, '') AS model,
    if({metadata_key:String} = '', '', metadata[{metadata_key:String}]) AS metadata_value,
    count() AS requests_sum,
    sum(ifNull(input_tokens, 0)) + sum(ifNull(output_tokens, 0)) AS tokens_sum,
    ifNull(sum(cost), 0) AS cost_sum,
    countIf(cost IS NULL) AS unpriced_sum
FROM metrion.response_events FINAL
WHERE account = {account:String}
  AND started_at >= {since:DateTime('UTC')} AND started_at < {until:DateTime('UTC')}
  AND toStartOfHour(started_at) >= toStartOfHour({since:DateTime('UTC')})
  AND NOT is_imported
  AND error_type NOT IN ('rate_limit_exceeded', 'budget_exceeded')
  AND ({token:String} = '' OR token = {token:String})
  AND ({requester:String} = '' OR requester = {requester:String})
  AND ({provider:String} = '' OR provider = {provider:String})
GROUP BY token_name, requester_name, model, metadata_value
SETTINGS do_not_merge_across_partitions_select_final = 1;
