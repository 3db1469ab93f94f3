-- Gateway instances of the last day with numbered events that are neither stored nor declared dropped, but for the last ten minutes; with
-- dropped events; or that went silent without a final report. See completeness.sql. Accepted instances do not count.
WITH now64(3) - INTERVAL 1 DAY AS start, now64(3) - INTERVAL 10 MINUTE AS end,
beats AS
(
    SELECT
        spool, epoch, argMin(gateway, at) AS name,
        maxIf(sequence, at < start) AS first, maxIf(sequence, at < end) AS last,
        maxIf(dropped, at < end) - maxIf(dropped, at < start) AS lost,
        max(at) AS latest, max(closing) AS closes, maxIf(sequence, closing) AS closed_at, max(sequence) AS highest,
        max(accepted_by) AS accepted
    FROM metrion.gateways
    GROUP BY spool, epoch
    HAVING accepted = '' AND latest >= start
),
events AS
(
    SELECT spool, epoch, sequence FROM metrion.request_events WHERE started_at >= start - INTERVAL 1 DAY
    UNION ALL
    SELECT spool, epoch, sequence FROM metrion.response_events WHERE started_at >= start - INTERVAL 1 DAY AND sequence > 0
),
found AS
(
    SELECT e.spool AS spool, e.epoch AS epoch, uniqExactIf(e.sequence, e.sequence > b.first AND e.sequence <= b.last) AS numbers
    FROM events AS e INNER JOIN beats AS b ON e.spool = b.spool AND e.epoch = b.epoch
    GROUP BY e.spool, e.epoch
)
SELECT
    b.name AS gateway,
    greatest(toInt64(b.last) - toInt64(b.first) - toInt64(f.numbers) - toInt64(b.lost), 0) AS missing,
    b.lost AS dropped,
    NOT (b.closes AND b.closed_at >= b.highest) AND b.latest < end AS silent
FROM beats AS b LEFT JOIN found AS f ON b.spool = f.spool AND b.epoch = f.epoch
WHERE missing > 0 OR dropped > 0 OR silent
ORDER BY missing + dropped DESC, gateway
LIMIT 1000
SETTINGS max_threads = 2, max_execution_time = 60;
