-- What did each requester spend on which model?
-- One row an account, requester, provider and model: the one that answered, else the one asked for. `cost_usd` is the sum of
-- what is known, NULL when nothing is; `unpriced` counts the requests it lacks (interrupted ones are among them),
-- `estimated_usd` is the part of it that rests on estimated usage. Cache hits cost 0; their tokens count as delivered.
SELECT
    account,
    requester,
    provider,
    r.model_name AS model,
    count() AS requests,
    countIf(is_cache_hit) AS hits,
    sum(r.input_tokens) AS input_tokens,
    sum(r.output_tokens) AS output_tokens,
    sum(cost) AS cost_usd,
    sumIf(ifNull(cost, 0), is_estimated) AS estimated_usd,
    countIf(cost IS NULL) AS unpriced
FROM metrion.requests AS r
WHERE started_at >= {since:DateTime64(6, 'UTC')} AND started_at < {until:DateTime64(6, 'UTC')}
  AND ({account:String} = '' OR account = {account:String})
GROUP BY account, requester, provider, model
ORDER BY account, cost_usd DESC NULLS LAST, requester, provider, model;
