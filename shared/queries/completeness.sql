-- Is every event that the gateways numbered stored? One row per gateway instance, for the numbers it used since `since`
-- (at most six days back: request_events are kept for seven). `missing` counts events neither stored nor declared dropped,
-- including those still on their way; `duplicated` counts numbers shared by two different events.
--
-- `state` says whether the last number is known:
--   ended        reported by the instance itself, or by the next start of its spool; not if there are higher numbers than
--                reported: the next start then had an older copy of the outbox, and knows nothing of the last events
--   running      a heartbeat within 25 seconds: known up to `heard_at`, even if the instance's clock is wrong or was set
--   unconfirmed  silent without a final report: events numbered after `heard_at` may be lost; listed whatever `since` is
--   accepted     unconfirmed or incomplete, and accepted by an operator (metrion completeness --accept)
--
-- Heartbeats before `start` say where to begin counting, also for an instance that has been silent since.
WITH greatest(toDateTime64({since:DateTime64(3)}, 3, 'UTC'), now64(3) - INTERVAL 6 DAY) AS start,
beats AS
(
    SELECT *, max(epoch) OVER (PARTITION BY spool) AS newest
    FROM
    (
        SELECT
            spool, epoch, argMinIf(gateway, at, accepted_by = '') AS name,
            maxIf(sequence, at < start) AS before, max(sequence) AS last,
            max(dropped) - maxIf(dropped, at < start) AS lost,
            maxIf(at, accepted_by = '') AS latest,
            max(closing) AS closes, maxIf(sequence, closing) AS closed_at, max(accepted_by) AS accepted,
            maxIf(ingested_at, accepted_by = '') AS stored_at,
            -- Heartbeats that arrive at the intervals at which they were sent, unlike a burst from a dead gateway's outbox:
            countIf(ingested_at > now64(3) - INTERVAL 35 SECOND AND accepted_by = '') AS recent,
            maxIf(at, ingested_at > now64(3) - INTERVAL 35 SECOND AND accepted_by = '') AS recent_to,
            minIf(at, ingested_at > now64(3) - INTERVAL 35 SECOND AND accepted_by = '') AS recent_from,
            minIf(ingested_at, ingested_at > now64(3) - INTERVAL 35 SECOND AND accepted_by = '') AS stored_from,
            recent > 1 AND recent_to > recent_from AND
                2 * dateDiff('millisecond', stored_from, stored_at) > dateDiff('millisecond', recent_from, recent_to) AS live,
            -- milliseconds between sending and storing, including the gateway's clock error
            minIf(dateDiff('millisecond', at, ingested_at), ingested_at > now64(3) - INTERVAL 1 HOUR) AS delay
        FROM metrion.gateways
        GROUP BY spool, epoch
    )
),
events AS
(
    SELECT spool, epoch, gateway, sequence, id, started_at, 'request' AS kind FROM metrion.request_events
    WHERE started_at >= start - INTERVAL 1 DAY
    UNION ALL
    SELECT spool, epoch, gateway, sequence, id, started_at, 'response' AS kind FROM metrion.response_events
    WHERE started_at >= start - INTERVAL 1 DAY AND sequence > 0
),
instances AS
(
    SELECT
        e.spool AS spool, e.epoch AS epoch, any(e.gateway) AS name, max(e.sequence) AS last, max(e.started_at) AS latest,
        uniqExactIf(e.sequence, e.sequence > b.before) AS numbers,
        -- the ID as a number, its last bit flipped for a request: a set of tuples costs three times as much
        uniqExactIf(bitXor(reinterpretAsUInt128(e.id), toUInt128(e.kind = 'request')), e.sequence > b.before) AS distinct_events
    FROM events AS e LEFT JOIN beats AS b ON e.spool = b.spool AND e.epoch = b.epoch
    GROUP BY e.spool, e.epoch
)
SELECT
    if(i.name != '', i.name, b.name) AS gateway,
    if(i.spool != '', i.spool, b.spool) AS spool,
    if(i.spool != '', i.epoch, b.epoch) AS epoch,
    greatest(b.last, i.last) - b.before AS sent,
    i.numbers AS stored,
    b.lost AS dropped,
    greatest(toInt64(sent) - toInt64(stored) - toInt64(dropped), 0) AS missing,
    i.distinct_events - i.numbers AS duplicated,
    multiIf(
        b.accepted != '', 'accepted',
        b.closes AND b.closed_at >= greatest(b.last, i.last), 'ended',
        b.spool = '' OR b.epoch < b.newest OR dateDiff('millisecond', b.stored_at, now64(3)) > 25000, 'unconfirmed',
        NOT b.live AND dateDiff('millisecond', b.latest, now64(3)) - b.delay > 25000, 'unconfirmed',
        'running') AS state,
    least(greatest(b.latest, i.latest), now64(6)) AS heard_at,  -- in case the gateway's clock is ahead
    b.accepted AS accepted_by
FROM instances AS i FULL JOIN beats AS b ON i.spool = b.spool AND i.epoch = b.epoch
WHERE heard_at >= start OR (state = 'unconfirmed' AND heard_at >= now64(3) - INTERVAL 6 DAY)
ORDER BY gateway, spool, epoch;
