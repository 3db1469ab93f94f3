-- What did each gateway of the last day say last? `pending_bytes` is what its outbox has not shipped yet.
SELECT
    gateway, spool, epoch,
    max(g.at) AS last_at,
    argMax(g.sequence, g.at) AS sequence,
    argMax(g.dropped, g.at) AS dropped,
    argMax(g.closing, g.at) AS closing,
    argMax(g.pending_bytes, g.at) AS pending_bytes
FROM metrion.gateways AS g
WHERE g.at >= {since:DateTime64(6, 'UTC')}
GROUP BY gateway, spool, epoch
ORDER BY last_at DESC
LIMIT 50;
