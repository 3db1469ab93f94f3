-- SQL users with their account, from our row policies; users without such a policy are not ours.
SELECT substring(short_name, length('metrion_') + 1) AS name, extract(select_filter, '= \'(.*)\'') AS account
FROM system.row_policies
WHERE database = 'metrion' AND table = 'response_events' AND startsWith(short_name, 'metrion_')
ORDER BY name;
