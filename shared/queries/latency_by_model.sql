-- How long do the models take to answer, and to begin?
-- One row an account, provider and model that answered, of complete answers from the provider: no errors, aborted or
-- interrupted requests, no cache hits. Milliseconds, exact percentiles (the value that this share of the answers stays at or
-- below). The first byte is that of streams and plain answers alike.
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
