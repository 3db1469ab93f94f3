-- Which requests could the cache have answered?
-- One row per account, requester, provider and requested model, the most costly repetitions first. `repeats` counts requests that look like an
-- earlier one of the period: same account, requester, provider, endpoint, requested model, body size and input tokens, answered by the
-- provider. `repeats_usd` is what they cost; of each group of similar requests the dearest is not counted, since one must be paid. It is at
-- most what caching (x-metrion-cache) would have saved: requests of the same size may differ. `alike` counts the groups. Requests of
-- unknown cost (`unpriced` elsewhere) are left out.
SELECT
    account,
    requester,
    provider,
    model,
    count() AS alike,
    sum(c.similar) - alike AS repeats,
    sum(c.repeated_cost) AS repeats_usd
FROM
(
    SELECT
        account, requester, provider, model_requested AS model,
        count() AS similar,
        sum(cost) - max(cost) AS repeated_cost
    FROM metrion.requests
    WHERE started_at >= {since:DateTime64(6, 'UTC')} AND started_at < {until:DateTime64(6, 'UTC')}
      AND ({account:String} = '' OR account = {account:String})
      AND is_answered AND cost > 0 AND request_bytes > 0
    GROUP BY account, requester, provider, endpoint, model, request_bytes, input_tokens
    HAVING similar > 1
) AS c
GROUP BY account, requester, provider, model
ORDER BY repeats_usd DESC, account, requester, provider, model
LIMIT {limit:UInt32};
