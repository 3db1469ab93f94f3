-- What did each gateway last report within a day? `pending_bytes` is what its outbox has not shipped yet.
SELECT
    gateway, spool, epoch,
    max(g.at) AS last_at,
    max(g.sequence) AS sequence,
    max(g.dropped) AS dropped,
    max(g.closing) AS closing,
    argMax(g.pending_bytes, g.at) AS pending_bytes
FROM metrion.gateways AS g
WHERE g.at >= {since:DateTime64(6, 'UTC')} AND g.accepted_by = ''
GROUP BY gateway, spool, epoch
ORDER BY last_at DESC
LIMIT 50;
