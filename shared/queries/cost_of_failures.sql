-- What did errors, aborted streams and the retries after them cost?
-- One row an account and way to end, `complete` included, so that the rows add up to all requests: `error` (a status of 400 and
-- up, or an error inside the answer), `aborted` (the client left), `broken` (the provider's answer broke off or came too late),
-- `interrupted` (the gateway died). `retries` are those of the requests that repeat a failed one: same account, token,
-- requester, provider, endpoint, model and size of body, begun within 60 s of its end. `cost_usd` and `retries_usd` are sums of
-- what is known, NULL when nothing is; `unpriced` counts what `cost_usd` lacks: a broken stream's charge is often unknown.
SELECT
    account,
    ended,
    count() AS requests,
    sum(cost) AS cost_usd,
    sumIf(ifNull(cost, 0), usage_source = 'estimated' OR cost_source = 'estimated') AS estimated_usd,
    countIf(cost IS NULL) AS unpriced,
    countIf(retry) AS retries,
    sumIf(cost, retry) AS retries_usd
FROM
(
    SELECT
        account, started_at, cost, usage_source, cost_source,
        multiIf(
            outcome = 'client_closed', 'aborted',
            outcome = 'interrupted', 'interrupted',
            outcome IN ('upstream_closed', 'timeout'), 'broken',
            outcome != 'complete' OR status >= 400 OR error_type != '', 'error',
            'complete') AS ended,
        any(ended) OVER before AS ended_before,
        any(addMilliseconds(started_at, latency_ms)) OVER before AS end_before,
        ended_before NOT IN ('', 'complete') AND started_at <= addSeconds(end_before, 60) AS retry
    FROM metrion.requests
    WHERE started_at >= {since:DateTime64(6, 'UTC')} - INTERVAL 1 HOUR AND started_at < {until:DateTime64(6, 'UTC')}
      AND ({account:String} = '' OR account = {account:String})
    WINDOW before AS
    (
        PARTITION BY account, token, requester, provider, endpoint, model_requested, request_bytes
        ORDER BY started_at, id ROWS BETWEEN 1 PRECEDING AND 1 PRECEDING
    )
)
WHERE started_at >= {since:DateTime64(6, 'UTC')}
GROUP BY account, ended
ORDER BY account, cost_usd DESC NULLS LAST, ended;
