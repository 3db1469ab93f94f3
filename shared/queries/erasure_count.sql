-- How many rows of a table belong to a requester, every version counted. `account` '' means all.
SELECT count() AS rows
FROM metrion.{table:Identifier}
WHERE requester = {requester:String} AND ({account:String} = '' OR account = {account:String});
