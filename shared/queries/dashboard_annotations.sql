-- What was done in a period to costs that were recorded before? Recalculations, with what they changed, and erased data of requesters; an
-- account sees only what is its own.
SELECT at, 'repricing' AS kind, filters['account'] AS account, changed, toFloat64(cost_before) AS cost_before, toFloat64(cost_after) AS cost_after
FROM metrion.repricings FINAL
WHERE finished = 1 AND changed > 0 AND at >= {since:DateTime64(6, 'UTC')} AND at < {until:DateTime64(6, 'UTC')}
  AND ({account:String} = '' OR filters['account'] = {account:String})
UNION ALL
SELECT at, 'erasure', account, toUInt64(arraySum(mapValues(rows))), 0, 0
FROM metrion.erasures FINAL
WHERE finished = 1 AND at >= {since:DateTime64(6, 'UTC')} AND at < {until:DateTime64(6, 'UTC')}
  AND ({account:String} = '' OR account = {account:String})
ORDER BY at
LIMIT 20;
