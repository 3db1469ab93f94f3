-- Fetches of batch results stored since `since` and not yet marked as billed: whole rows, with the batch's name from the path.
-- OpenAI's output files are excluded, since its batch object has the same usage.
SELECT
    * EXCEPT (ingested_at),
    if(provider != 'openai' AND endpoint LIKE '%/files/%',
        extract(endpoint, '^GET .*/files/([^/]+)/content$'),
        extract(endpoint, '^GET .*/batches/([^/]+)(?:/results)?$')) AS batch
FROM metrion.response_events
WHERE ingested_at >= {since:DateTime64(3, 'UTC')}
  AND version > 1 AND cost_reason = 'batch' AND usage_source IN ('reported', 'drained') AND batch != ''
  AND id NOT IN
  (
      SELECT id FROM metrion.response_events
      WHERE ingested_at >= {since:DateTime64(3, 'UTC')} AND cost_reason = 'batch_billed'
  )
ORDER BY started_at, id, version DESC
LIMIT 1 BY id
LIMIT {limit:UInt32};
