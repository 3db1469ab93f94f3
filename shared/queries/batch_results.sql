-- Looks at finished batches that came in since `since` and are not yet marked as billed with their batch: whole rows, and the
-- batch's name as its provider's paths have it. OpenAI's output files stay out: its batch object tells the same usage.
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
