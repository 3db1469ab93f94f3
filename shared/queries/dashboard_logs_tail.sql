-- Which requests were booked since `arrived`, whenever they began? At most `limit`, newest first, as dashboard_logs_page.sql tells
-- them. A long request is booked after a short one that began later: hence by the time of storing. `arrived` tells when that was.
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
    r.latency_ms AS latency_ms,
    toString(r.ingested_at) AS arrived
FROM metrion.requests AS r
WHERE r.started_at >= {since:DateTime64(6, 'UTC')} AND r.started_at < {until:DateTime64(6, 'UTC')}
  -- the hour is in the primary key, the time of storing is not
  AND toStartOfHour(r.started_at) IN
  (
      SELECT toStartOfHour(stored.started_at) FROM metrion.response_events AS stored
      WHERE stored.ingested_at > {arrived:DateTime64(3, 'UTC')}
        AND stored.started_at >= {since:DateTime64(6, 'UTC')} AND stored.started_at < {until:DateTime64(6, 'UTC')}
        AND ({account:String} = '' OR stored.account = {account:String})
  )
  AND r.ingested_at > {arrived:DateTime64(3, 'UTC')}
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
ORDER BY r.started_at DESC, r.id DESC
LIMIT {limit:UInt32};
