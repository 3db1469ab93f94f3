-- Gateway instances that are gone: replaced by a newer start of the same spool, shut down, or silent.
-- All times are insertion times, so that gateways' clocks do not matter.
WITH seen AS
(
    SELECT spool, epoch, min(ingested_at) AS first_at, max(ingested_at) AS last_at, max(closing) AS closes
    FROM
    (
        SELECT spool, epoch, ingested_at, closing FROM metrion.gateways WHERE at >= now() - INTERVAL 7 DAY
        UNION ALL
        SELECT spool, epoch, ingested_at, false FROM metrion.request_events WHERE started_at >= {since:DateTime64(3)}
        UNION ALL
        SELECT spool, epoch, ingested_at, false FROM metrion.response_events
        WHERE started_at >= {since:DateTime64(3)} AND sequence > 0
    )
    GROUP BY spool, epoch
)
SELECT spool, epoch
FROM
(
    SELECT
        spool, epoch, last_at, closes,
        min(first_at) OVER (PARTITION BY spool ORDER BY epoch ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING) AS next_at,
        count() OVER (PARTITION BY spool ORDER BY epoch ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING) AS newer
    FROM seen
)
WHERE (closes AND last_at <= now64(3) - toIntervalMillisecond(toInt64({grace:Float64} * 1000)))
   OR (newer > 0 AND greatest(last_at, next_at) <= now64(3) - toIntervalMillisecond(toInt64({grace:Float64} * 1000)))
   OR last_at <= now64(3) - toIntervalMillisecond(toInt64({silence:Float64} * 1000));
