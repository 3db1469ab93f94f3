-- The tables whose rows belong to a requester, in the order in which to erase: the requests that were asked before what became
-- of them, for the sweep books an asked one that stands alone as interrupted.
SELECT table
FROM system.columns
WHERE database = 'metrion' AND name IN ('account', 'requester')
  AND table IN (SELECT name FROM system.tables WHERE database = 'metrion' AND engine LIKE '%MergeTree')
GROUP BY table
HAVING count() = 2
ORDER BY table != 'request_events', table != 'response_events', table;
