-- The 95th percentiles of latency and of the time to the first byte, in milliseconds, of an alert rule's requests. See alert_sums.sql.
-- Of successful responses that did not come from the cache, as everywhere; `sample` counts them.
SELECT
    if({whole:Bool}, '', toString({by:Identifier})) AS subject,
    quantilesTDigestMergeIf(0.5, 0.95, 0.99)(u.latency, u.answered > 0)[2] AS latency_p95,
    quantilesTDigestMergeIf(0.5, 0.95, 0.99)(u.ttfb, u.answered > 0)[2] AS first_byte_p95,
    sum(u.answered) AS sample
FROM metrion.{source:Identifier} AS u
-- include alert_scope.sql
GROUP BY subject
HAVING sample > 0
ORDER BY sample >= {minimum:UInt64} DESC, {ordered:Identifier} DESC, subject
LIMIT {limit:UInt32}
SETTINGS max_threads = 2, max_execution_time = 30;
