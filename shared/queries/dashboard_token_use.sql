-- When was each token last used? To a quarter of an hour, within the last 90 days.
SELECT account, token, max(bucket) AS last_at
FROM metrion.usage_totals
WHERE bucket >= now() - INTERVAL 90 DAY AND ({account:String} = '' OR account = {account:String})
GROUP BY account, token
ORDER BY account, token;
