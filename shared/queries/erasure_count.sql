-- Number of a requester's rows in a table, all versions included. `account` '' means all.
SELECT count() AS rows
FROM metrion.{table:Identifier}
WHERE requester = {requester:String} AND ({account:String} = '' OR account = {account:String});
