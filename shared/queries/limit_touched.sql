-- Which accounts have rows that were stored after `since`, also of corrections?
SELECT DISTINCT account
FROM metrion.response_events
WHERE ingested_at > {since:DateTime64(3, 'UTC')};
