-- The same by one column: provider, model, requester, token, status or outcome; of whatever has any of `measure`, the largest by
-- `ordered` first. `groups` says how
-- many there are, also those past `limit`. See dashboard_sums.sql.
SELECT
    toString({by:Identifier}) AS name,
    toString({beside:Identifier}) AS beside,
    sum(u.requests) AS requests,
    sum(u.errors) AS errors,
    sum(u.hits) AS hits,
    sum(u.input_tokens) AS input_tokens,
    sum(u.output_tokens) AS output_tokens,
    sum(u.cost) AS cost,
    sum(u.unpriced) AS unpriced,
    sum(u.estimated) AS estimated,
    sum(u.estimated_cost) AS estimated_cost,
    sum(u.cost_saved) AS saved,
    sum(u.answered_ms) / nullIf(sum(u.answered), 0) AS latency_mean,
    sum(u.first_byte_ms) / nullIf(sum(u.first_bytes), 0) AS first_byte_mean,
    ifNull(sum(u.input_tokens), 0) + ifNull(sum(u.output_tokens), 0) AS tokens,
    count() OVER () AS groups
FROM metrion.{source:Identifier} AS u
WHERE u.bucket >= {since:DateTime64(6, 'UTC')} AND u.bucket < {until:DateTime64(6, 'UTC')}
GROUP BY name, beside
HAVING {measure:Identifier} > 0
ORDER BY {ordered:Identifier} DESC NULLS LAST, requests DESC, name, beside
LIMIT {limit:UInt32};
