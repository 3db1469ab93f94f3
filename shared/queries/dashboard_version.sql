-- Are there new rows? A number that grows with the rows of the last hours. One row.
SELECT toUnixTimestamp64Milli(max(ingested_at)) + count() AS version
FROM metrion.response_events
WHERE started_at >= now() - INTERVAL 2 HOUR AND ({account:String} = '' OR account = {account:String});
