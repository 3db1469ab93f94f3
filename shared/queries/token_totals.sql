-- What has each token used since the start of the day and of the month? From the rollup; both begin at quarters of an hour.
-- `every`: of all accounts, not only of those in `accounts`.
SELECT
    account,
    token,
    sum(requests) AS month_requests,
    sum(cost) AS month_cost,
    sum(unpriced) AS month_unpriced,
    ifNull(sum(input_tokens), 0) AS month_input_tokens,
    ifNull(sum(output_tokens), 0) AS month_output_tokens,
    sumIf(requests, bucket >= {day:DateTime('UTC')}) AS day_requests,
    sumIf(cost, bucket >= {day:DateTime('UTC')}) AS day_cost,
    sumIf(unpriced, bucket >= {day:DateTime('UTC')}) AS day_unpriced,
    ifNull(sumIf(input_tokens, bucket >= {day:DateTime('UTC')}), 0) AS day_input_tokens,
    ifNull(sumIf(output_tokens, bucket >= {day:DateTime('UTC')}), 0) AS day_output_tokens
FROM metrion.usage_totals
WHERE bucket >= {month:DateTime('UTC')} AND ({every:Bool} OR account IN {accounts:Array(String)}) AND token != ''
GROUP BY account, token;
