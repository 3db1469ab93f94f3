-- Has a token's first request arrived? Of the last day: how many came, and how the first of them went.
SELECT count() AS requests, argMin(status, started_at) AS status, argMin(r.model_name, started_at) AS model
FROM metrion.requests AS r
WHERE account = {account:String} AND token = {token:String} AND started_at >= now() - INTERVAL 1 DAY;
