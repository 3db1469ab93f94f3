-- When did a request start, by its ID alone? One row, for IDs that do not contain their time. The index of IDs narrows the search.
SELECT started_at
FROM metrion.response_events
WHERE id = {id:UUID} AND ({account:String} = '' OR account = {account:String})
LIMIT 1;
