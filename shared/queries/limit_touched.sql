-- Which accounts have rows stored after `since`, including corrections?
SELECT DISTINCT account
FROM metrion.response_events
WHERE ingested_at > {since:DateTime64(3, 'UTC')};
