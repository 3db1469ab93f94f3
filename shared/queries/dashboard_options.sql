-- Which names can the filters offer? One row: requests by name, of the period and its account. From the rollup alone: a name is
-- there when the next pass has seen it.
SELECT
    sumMap(map(u.provider, u.requests)) AS providers,
    sumMap(map(u.model, u.requests)) AS models,
    sumMap(map(u.token, u.requests)) AS tokens,
    sumMap(map(u.account, u.requests)) AS accounts
FROM metrion.usage_totals_15m AS u
WHERE u.bucket >= {since:DateTime64(6, 'UTC')} AND u.bucket < {until:DateTime64(6, 'UTC')}
  AND ({account:String} = '' OR u.account = {account:String});
