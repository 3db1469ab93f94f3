-- What did errors, aborted streams and the retries after them cost?
-- One row an account and way to end, `complete` included, so that the rows add up to all requests: `error` (a status of 400 and
-- up, or an error inside the answer), `aborted` (the client left), `broken` (the provider's answer broke off or came too late),
-- `interrupted` (the gateway died). `retries` are those of the requests that repeat a failed one: same account, token,
-- requester, provider, endpoint, model and size of body, begun within 60 s of its end. `cost_usd` and `retries_usd` are sums of
-- what is known, NULL when nothing is; `unpriced` counts what `cost_usd` lacks: a broken stream's charge is often unknown.
-- Only requests `near` a failed one are put in order: those alike that begin from its first minute to the one after its end.
WITH
calls AS
(
    SELECT
        account, token, requester, provider, endpoint, model_requested, request_bytes, started_at, id, cost, is_estimated,
        addMilliseconds(started_at, latency_ms) AS ended_at,
        multiIf(
            outcome = 'client_closed', 'aborted',
            outcome = 'interrupted', 'interrupted',
            outcome IN ('upstream_closed', 'timeout'), 'broken',
            is_error, 'error',
            'complete') AS ended,
        cityHash64(account, token, requester, provider, endpoint, model_requested, request_bytes) AS alike
    FROM metrion.requests
    WHERE started_at >= {since:DateTime64(6, 'UTC')} - INTERVAL 1 HOUR AND started_at < {until:DateTime64(6, 'UTC')}
      AND ({account:String} = '' OR account = {account:String})
),
near AS
(
    SELECT alike, arrayJoin(range(intDiv(toUnixTimestamp(started_at), 60), intDiv(toUnixTimestamp(ended_at), 60) + 2)) AS minute
    FROM calls
    WHERE ended != 'complete'
),
retries AS
(
    SELECT account, ended, count() AS requests, sum(cost) AS cost_usd
    FROM
    (
        SELECT
            account, ended, cost, started_at,
            any(ended) OVER before AS ended_before,
            any(ended_at) OVER before AS end_before
        FROM calls
        WHERE (alike, intDiv(toUnixTimestamp(started_at), 60)) IN (SELECT alike, minute FROM near)
        WINDOW before AS
        (
            PARTITION BY account, token, requester, provider, endpoint, model_requested, request_bytes
            ORDER BY started_at, id ROWS BETWEEN 1 PRECEDING AND 1 PRECEDING
        )
    )
    WHERE ended_before NOT IN ('', 'complete') AND started_at <= addSeconds(end_before, 60) AND started_at >= {since:DateTime64(6, 'UTC')}
    GROUP BY account, ended
),
sums AS
(
    SELECT
        account,
        ended,
        count() AS requests,
        sum(cost) AS cost_usd,
        sumIf(ifNull(cost, 0), is_estimated) AS estimated_usd,
        countIf(cost IS NULL) AS unpriced
    FROM calls
    WHERE started_at >= {since:DateTime64(6, 'UTC')}
    GROUP BY account, ended
)
SELECT s.*, r.requests AS retries, r.cost_usd AS retries_usd
FROM sums AS s LEFT JOIN retries AS r ON s.account = r.account AND s.ended = r.ended
ORDER BY s.account, s.cost_usd DESC NULLS LAST, s.ended;
