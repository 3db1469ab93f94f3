-- Which requests come next in the list? At most `limit` of those between `since` (included) and `until` (excluded) that stand
-- after the key (`edge`, `edge_id`): older ones with `ascending` = 0, newest first; newer ones with 1, oldest first.
-- FINAL merges whatever the period holds before it can sort it, so the period has to be short: services/dashboard/walk.py finds
-- out how short. `search` is text, not a pattern. Names are cut to what a row can show.
SELECT
    r.id AS id,
    r.started_at AS started_at,
    r.account AS account,
    leftUTF8(r.requester, 81) AS requester,
    r.provider AS provider,
    leftUTF8(if(r.model = '', r.model_requested, r.model), 81) AS model_name,
    r.stream AS stream,
    r.status AS status,
    r.outcome AS outcome,
    leftUTF8(r.error_type, 81) AS error_type,
    r.cache AS cache,
    r.input_tokens AS input_tokens,
    r.output_tokens AS output_tokens,
    r.saved_input_tokens AS saved_input_tokens,
    r.saved_output_tokens AS saved_output_tokens,
    r.usage_source AS usage_source,
    r.cost AS cost,
    r.cost_reason AS cost_reason,
    r.cost_source AS cost_source,
    r.latency_ms AS latency_ms
FROM metrion.requests AS r
WHERE r.started_at >= {since:DateTime64(6, 'UTC')} AND r.started_at < {until:DateTime64(6, 'UTC')}
  AND if({ascending:UInt8} = 1,
      (r.started_at, r.id) > ({edge:DateTime64(6, 'UTC')}, {edge_id:UUID}),
      (r.started_at, r.id) < ({edge:DateTime64(6, 'UTC')}, {edge_id:UUID}))
  AND ({account:String} = '' OR r.account = {account:String})
  AND ({provider:String} = '' OR r.provider = {provider:String})
  AND ({any_model:UInt8} OR if(r.model = '', r.model_requested, r.model) = {model:String})
  AND ({any_token:UInt8} OR r.token = {token:String})
  AND ({any_requester:UInt8} OR r.requester = {requester:String})
  AND r.status BETWEEN {status_from:UInt16} AND {status_to:UInt16}
  AND ({cache:String} = '' OR (r.cache = 'HIT') = ({cache:String} = 'yes'))
  AND ({cost:String} = '' OR if({cost:String} = 'unknown', r.cost IS NULL, r.cost IS NOT NULL AND r.usage_source = 'estimated'))
  AND ({meta_key:String} = '' OR mapContains(r.metadata, {meta_key:String}) AND r.metadata[{meta_key:String}] = {meta_value:String})
  AND ({search:String} = ''
      OR positionCaseInsensitiveUTF8(r.model, {search:String}) > 0
      OR positionCaseInsensitiveUTF8(r.model_requested, {search:String}) > 0
      OR positionCaseInsensitiveUTF8(r.requester, {search:String}) > 0
      OR positionCaseInsensitiveUTF8(r.error_type, {search:String}) > 0
      OR positionCaseInsensitiveUTF8(r.error_message, {search:String}) > 0)
ORDER BY
    if({ascending:UInt8} = 1, r.started_at, NULL), if({ascending:UInt8} = 1, r.id, NULL),
    r.started_at DESC, r.id DESC
LIMIT {limit:UInt32};
