-- Which names can the filters offer? One row: by name how much it weighs (its cost, and where that
-- is the same its requests), of the period and its account. From the rollup alone: a name is
-- there when the next pass has seen it.
SELECT
    sumMap(map(provider, weight)) AS providers,
    sumMap(map(model, weight)) AS models,
    sumMap(map(token, weight)) AS tokens,
    sumMap(map(account, weight)) AS accounts
FROM
(
    SELECT u.provider AS provider, u.model AS model, u.token AS token, u.account AS account,
        toFloat64(ifNull(sum(u.cost), 0)) + sum(u.requests) / 1e9 AS weight
    FROM metrion.usage_totals_4h AS u
    WHERE u.bucket > {since:DateTime64(6, 'UTC')} - INTERVAL 4 HOUR AND u.bucket < {until:DateTime64(6, 'UTC')}
      AND ({account:String} = '' OR u.account = {account:String})
    GROUP BY provider, model, token, account
);
