-- The newest requests of an account between `since` and the key (`before`, `before_id`) of the page before it: the next page.
-- FINAL merges whatever the period holds before it can sort it, so the period has to be short; shared/logs.py finds out how
-- short. '' stands for any requester, provider, model, token, cache and metadata key; statuses from `status_from` to `status_to`.
SELECT
    id, account, token, requester, metadata, provider, endpoint, model_requested, model, stream, started_at, status, outcome,
    error_type, latency_ms, ttfb_ms, cache, input_tokens, output_tokens, usage_source, cost, cost_reason, cost_saved
FROM metrion.requests
WHERE account = {account:String}
  AND started_at >= {since:DateTime64(6, 'UTC')} AND started_at <= {before:DateTime64(6, 'UTC')}
  AND (started_at, id) < ({before:DateTime64(6, 'UTC')}, {before_id:UUID})
  AND ({requester:String} = '' OR requester = {requester:String})
  AND ({provider:String} = '' OR provider = {provider:String})
  AND ({model:String} = '' OR if(model = '', model_requested, model) = {model:String})
  AND ({token:String} = '' OR token = {token:String})
  AND ({cache:String} = '' OR cache = {cache:String})
  AND status BETWEEN {status_from:UInt16} AND {status_to:UInt16}
  AND ({metadata_key:String} = '' OR metadata[{metadata_key:String}] = {metadata_value:String})
ORDER BY started_at DESC, id DESC
LIMIT {limit:UInt32};
