-- The SQL users that see one account, and which, as our row policies say. A user without such a policy is none of ours.
SELECT substring(short_name, length('metrion_') + 1) AS name, extract(select_filter, '= \'(.*)\'') AS account
FROM system.row_policies
WHERE database = 'metrion' AND table = 'response_events' AND startsWith(short_name, 'metrion_')
ORDER BY name;
