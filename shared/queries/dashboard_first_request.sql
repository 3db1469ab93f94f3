-- Has a token's first request arrived? How many came within the last day, the outcome of the first one, and why it failed.
SELECT
    count() AS requests,
    argMin(status, started_at) AS status,
    argMin(r.model_name, started_at) AS model,
    argMin(r.is_error, started_at) AS failed,
    argMin(if(error_message = '', error_type, error_message), started_at) AS reason,
    toString(argMin(id, started_at)) AS id
FROM metrion.response_events AS r FINAL
WHERE account = {account:String} AND token = {token:String} AND started_at >= now() - INTERVAL 1 DAY
SETTINGS do_not_merge_across_partitions_select_final = 1;
