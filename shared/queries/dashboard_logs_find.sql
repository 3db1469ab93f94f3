-- When did a request begin, by its id alone? One row; for ids that do not bear their time. The index of ids narrows the search.
SELECT started_at
FROM metrion.response_events
WHERE id = {id:UUID} AND ({account:String} = '' OR account = {account:String})
LIMIT 1;
