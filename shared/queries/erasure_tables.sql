-- Tables with a requester's rows, in the order of erasure: request events before response events, since the sweep records a
-- request without a response as interrupted.
SELECT table
FROM system.columns
WHERE database = 'metrion' AND name IN ('account', 'requester')
  AND table IN (SELECT name FROM system.tables WHERE database = 'metrion' AND engine LIKE '%MergeTree')
GROUP BY table
HAVING count() = 2
ORDER BY table != 'request_events', table != 'response_events', table;
