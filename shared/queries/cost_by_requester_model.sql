-- What did each requester spend on which model?
-- One row per account, requester, provider and model: the one that responded, else the requested one. `cost_usd` is the sum of
-- known costs, NULL if none is known; `unpriced` counts requests without a cost, including interrupted ones; `estimated_usd` is
-- the estimated part of `cost_usd`. Cache hits cost 0; their tokens count as delivered.
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
