-- When was each token last used? Within 90 days: from the rollup, and from the requests of the last day, which its passes may not have
-- reached yet.
SELECT account, token, max(used_at) AS last_at
FROM
(
    SELECT account, token, sums.last_at AS used_at
    FROM metrion.usage_sums AS sums FINAL
    WHERE span = 86400 AND dims = 'token' AND requests > 0 AND bucket >= now() - INTERVAL 90 DAY
    UNION ALL
    SELECT account, token, started_at AS used_at
    FROM metrion.response_events
    WHERE started_at >= now() - INTERVAL 1 DAY
)
WHERE {account:String} = '' OR account = {account:String}
GROUP BY account, token
ORDER BY account, token;
