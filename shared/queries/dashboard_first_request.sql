-- Has a token's first request arrived? How many came within the last day, and the outcome of the first one.
SELECT count() AS requests, argMin(status, started_at) AS status, argMin(r.model_name, started_at) AS model
FROM metrion.requests AS r
WHERE account = {account:String} AND token = {token:String} AND started_at >= now() - INTERVAL 1 DAY;
