-- Measures grouped by one column and the one `beside` it: provider, model, requester, token, status or outcome. Only groups with any
-- `measure`, largest by `ordered` first. `groups` is their number, including those beyond `limit`. See dashboard_compared.sql.
SELECT
    toString({by:Identifier}) AS name,
    toString({beside:Identifier}) AS beside,
    count() OVER () AS groups,
    -- measures: once
FROM metrion.{source:Identifier} AS u
WHERE u.bucket >= {since:DateTime64(6, 'UTC')} AND u.bucket < {until:DateTime64(6, 'UTC')}
GROUP BY name, beside
HAVING {measure:Identifier} > 0
ORDER BY {ordered:Identifier} DESC NULLS LAST, requests DESC, name, beside
LIMIT {limit:UInt32};
