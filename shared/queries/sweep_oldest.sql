-- When the oldest accepted request of those stored began; no row if there is none.
SELECT min(started_at) AS oldest
FROM metrion.request_events
HAVING count() > 0;
