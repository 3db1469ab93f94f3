-- Which names can the filters offer? One row: by name how much it weighs (its cost, and where that
-- is the same its requests), of the period and its account. From the rollup alone: a name is
-- there when the next pass has seen it.
WITH toFloat64(ifNull(u.cost, 0)) + u.requests / 1e9 AS weight
SELECT
    sumMap(map(u.provider, weight)) AS providers,
    sumMap(map(u.model, weight)) AS models,
    sumMap(map(u.token, weight)) AS tokens,
    sumMap(map(u.account, weight)) AS accounts
FROM metrion.usage_totals_15m AS u
WHERE u.bucket >= {since:DateTime64(6, 'UTC')} AND u.bucket < {until:DateTime64(6, 'UTC')}
  AND ({account:String} = '' OR u.account = {account:String});
