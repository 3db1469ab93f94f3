-- How long do the models take to respond, and to start responding?
-- One row per account, provider and responding model, for complete responses from the provider: no errors, no aborted or
-- interrupted requests, no cache hits. Milliseconds, exact percentiles (the value that this share of responses does not exceed).
-- Time to first byte covers streams and plain responses alike.
SELECT
    account,
    provider,
    r.model_name AS model,
    count() AS answers,
    countIf(stream) AS streams,
    quantileExactLow(0.5)(latency_ms) AS p50_ms,
    quantileExactLow(0.95)(latency_ms) AS p95_ms,
    quantileExactLow(0.99)(latency_ms) AS p99_ms,
    quantileExactLow(0.5)(ttfb_ms) AS first_byte_p50_ms,
    quantileExactLow(0.95)(ttfb_ms) AS first_byte_p95_ms,
    quantileExactLow(0.99)(ttfb_ms) AS first_byte_p99_ms
FROM metrion.requests AS r
WHERE started_at >= {since:DateTime64(6, 'UTC')} AND started_at < {until:DateTime64(6, 'UTC')}
  AND ({account:String} = '' OR account = {account:String})
  AND is_answered
GROUP BY account, provider, model
ORDER BY account, answers DESC, provider, model;
