-- The same percentiles by one column and what stands beside it: provider, model. See dashboard_latency.sql and dashboard_by.sql.
SELECT
    toString({by:Identifier}) AS name,
    toString({beside:Identifier}) AS beside,
    quantilesTDigestMerge(0.5, 0.95, 0.99)(u.latency) AS latency,
    quantilesTDigestMerge(0.5, 0.95, 0.99)(u.ttfb) AS first_byte
FROM metrion.{source:Identifier} AS u
WHERE u.bucket >= {since:DateTime64(6, 'UTC')} AND u.bucket < {until:DateTime64(6, 'UTC')}
  AND u.answered > 0
GROUP BY name, beside;
