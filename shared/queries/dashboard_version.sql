-- Has anything come? A number that grows when rows of the last hours do. One row.
SELECT toUnixTimestamp64Milli(max(ingested_at)) + count() AS version
FROM metrion.response_events
WHERE started_at >= now() - INTERVAL 2 HOUR AND ({account:String} = '' OR account = {account:String});
