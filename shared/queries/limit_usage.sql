-- What have an account's requests of a period used, as far as a limit covers them? From the rollup; times begin at quarters of an hour.
-- Imported requests did not pass the gateway and do not count. `each_token`, `each_requester`: by token, by requester.
SELECT
    if({each_token:Bool}, token, '') AS token_name,
    if({each_requester:Bool}, requester, '') AS requester_name,
    '' AS model,
    '' AS metadata_value,
    sum(requests) AS requests_sum,
    sum(input_tokens) + sum(output_tokens) AS tokens_sum,
    ifNull(sum(cost), 0) AS cost_sum,
    sum(unpriced) AS unpriced_sum
FROM metrion.usage
WHERE account = {account:String}
  AND usage_source != 'imported'
  AND bucket >= {since:DateTime('UTC')} AND bucket < {until:DateTime('UTC')}
  AND ({token:String} = '' OR token = {token:String})
  AND ({requester:String} = '' OR requester = {requester:String})
  AND ({provider:String} = '' OR provider = {provider:String})
GROUP BY token_name, requester_name;
