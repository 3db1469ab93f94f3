-- Which sessions have exactly this name, in the period and account? The index of sessions narrows the search.
SELECT account, session, max(started_at) AS last_at
FROM metrion.response_events
PREWHERE session = {search:String}
    AND started_at >= {since:DateTime64(6, 'UTC')} AND started_at < {until:DateTime64(6, 'UTC')}
    AND ({account:String} = '' OR account = {account:String})
GROUP BY account, session
ORDER BY last_at DESC, account
LIMIT {limit:UInt32};
