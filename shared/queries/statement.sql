-- What does an account owe for a month (or any period), and for what?
-- Three kinds of rows per account, each adding up to the same sums: `section` total (one row), model (one per provider and model)
-- and requester (one each). `cost_usd` is the sum of known costs, NULL if none is known; `unpriced` counts requests without a
-- cost, including interrupted ones; `estimated_usd` is the estimated part of `cost_usd`; `repriced` counts requests whose price was
-- corrected later. `hits` came from the cache: they cost 0, and `saved_usd` is what they would have cost.
-- Requests of subscriptions cost 0, too: `equivalent_usd` is what they would have cost at API prices.
SELECT
    account,
    multiIf(grouping(provider) = 0, 'model', grouping(requester) = 0, 'requester', 'total') AS section,
    provider,
    model,
    requester,
    count() AS requests,
    countIf(is_cache_hit) AS hits,
    sum(r.input_tokens) AS input_tokens,
    sum(r.output_tokens) AS output_tokens,
    sum(cost) AS cost_usd,
    sumIf(ifNull(cost, 0), is_estimated) AS estimated_usd,
    countIf(cost IS NULL) AS unpriced,
    sumIf(cost_saved, is_cache_hit) AS saved_usd,
    countIf(version > 2) AS repriced,
    sum(cost_equivalent) AS equivalent_usd
FROM
(
    SELECT * EXCEPT (model), q.model_name AS model
    FROM metrion.requests AS q
    WHERE started_at >= {since:DateTime64(6, 'UTC')} AND started_at < {until:DateTime64(6, 'UTC')}
      AND ({account:String} = '' OR account = {account:String})
) AS r
GROUP BY GROUPING SETS ((account), (account, provider, model), (account, requester))
ORDER BY account, section DESC, cost_usd DESC NULLS LAST, provider, model, requester;
