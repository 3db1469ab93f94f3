-- Which names can the filters offer? One row with each name's weight (its cost, then its requests)
-- in the period and account. From the rollup alone: a name appears after the next pass, and there
-- is no row before the first one.
SELECT
    sumMapIf(map(provider, weight), dims = 'model') AS providers,
    sumMapIf(map(model, weight), dims = 'model') AS models,
    sumMapIf(map(token, weight), dims = 'token') AS tokens,
    sumMapIf(map(account, weight), dims = 'model') AS accounts
FROM
(
    SELECT u.dims AS dims, u.provider AS provider, u.model AS model, u.token AS token, u.account AS account,
        toFloat64(ifNull(sum(u.cost), 0)) + sum(u.requests) / 1e9 AS weight
    FROM metrion.usage_sums AS u FINAL
    WHERE u.span = 86400 AND u.dims IN ('model', 'token')
      AND u.bucket > {since:DateTime64(6, 'UTC')} - INTERVAL 1 DAY AND u.bucket < {until:DateTime64(6, 'UTC')}
      AND ({account:String} = '' OR u.account = {account:String})
    GROUP BY dims, provider, model, token, account
    SETTINGS do_not_merge_across_partitions_select_final = 1
)
HAVING notEmpty(providers);
