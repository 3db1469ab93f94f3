-- What did recent requests of a model cost, and how many tokens did they use? For one token, and for the account with all its tokens.
SELECT
    countIf(token = {token:String}) AS own_count,
    toFloat64(quantileIf(0.95)(cost, token = {token:String})) AS own_cost,
    quantileIf(0.95)(ifNull(input_tokens, 0) + ifNull(output_tokens, 0), token = {token:String}) AS own_tokens,
    count() AS all_count,
    toFloat64(quantile(0.95)(cost)) AS all_cost,
    quantile(0.95)(ifNull(input_tokens, 0) + ifNull(output_tokens, 0)) AS all_tokens
FROM metrion.response_events
WHERE account = {account:String} AND provider = {provider:String} AND model_requested = {model:String}
  AND started_at >= {since:DateTime('UTC')} AND toStartOfHour(started_at) >= toStartOfHour({since:DateTime('UTC')})
  AND is_answered AND cost IS NOT NULL AND billing = '';
