-- Which requests have this ID at their provider, in the period and account? Reads the IDs of the whole period: no index has them.
SELECT DISTINCT id, account, started_at
FROM metrion.response_events
PREWHERE provider_request_id = {search:String}
    AND started_at >= {since:DateTime64(6, 'UTC')} AND started_at < {until:DateTime64(6, 'UTC')}
    AND ({account:String} = '' OR account = {account:String})
ORDER BY started_at DESC, id
LIMIT {limit:UInt32};
