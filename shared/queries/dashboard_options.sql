-- Which names can the filters offer? One row; at most 1,000 of each, of the period and its account. From the rollup alone: a name is
-- there when the next pass has seen it.
SELECT
    groupUniqArray(1000)(u.provider) AS providers,
    groupUniqArray(1000)(u.model) AS models,
    groupUniqArray(1000)(u.token) AS tokens,
    groupUniqArray(1000)(u.account) AS accounts
FROM metrion.usage_totals_15m AS u
WHERE u.bucket >= {since:DateTime64(6, 'UTC')} AND u.bucket < {until:DateTime64(6, 'UTC')}
  AND ({account:String} = '' OR u.account = {account:String});
