-- Compute what failed or has no known cost in whole buckets from their requests, as a pass that began at `at`.
INSERT INTO metrion.usage_faults_15m
(
    account, bucket, requester, token, provider, model, status, outcome, error_type, cache, usage_source, priced, cost_reason,
    requests, input_tokens, output_tokens, last_at, computed_at
)
SELECT
    account, bucket, requester, token, provider, model, status, outcome, error_type, cache, usage_source, priced, cost_reason,
    requests, input_tokens, output_tokens, last_at, {at:DateTime64(3, 'UTC')}
FROM metrion.usage_faults_live
WHERE hour IN (SELECT toStartOfHour(arrayJoin({buckets:Array(DateTime('UTC'))})))
  AND has({buckets:Array(DateTime('UTC'))}, bucket);
