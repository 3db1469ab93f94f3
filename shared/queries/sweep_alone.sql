-- Requests accepted between start and end without a response row, whose gateway instance ('spool epoch') is gone.
-- Both events have the same started_at, so the same period applies to both tables.
SELECT
    id, account, token, requester, metadata, client, client_version, session, agent, billing, connection, turn, provider, dialect, endpoint, model_requested, stream, started_at, gateway,
    spool, epoch, sequence
FROM metrion.request_events
WHERE started_at >= {start:DateTime64(6)} AND started_at < {end:DateTime64(6)}
  AND (concat(spool, ' ', toString(epoch)) IN {gone:Array(String)} OR started_at < {too_old:DateTime64(6)})
  AND id NOT IN
  (
      SELECT id FROM metrion.response_events
      WHERE started_at >= {start:DateTime64(6)} AND started_at < {end:DateTime64(6)}
        AND (concat(spool, ' ', toString(epoch)) IN {gone:Array(String)} OR started_at < {too_old:DateTime64(6)})
  )
LIMIT 1 BY id
LIMIT {limit:UInt32};
