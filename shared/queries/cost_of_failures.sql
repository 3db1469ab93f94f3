-- What did errors, aborted streams and the retries after them cost?
-- One row per account and ending, including `complete`, so that the rows add up to all requests: `error` (status 400 or above, or an
-- error inside the response), `aborted` (the client left), `broken` (the provider's response broke off or came too late),
-- `interrupted` (the gateway died). `retries` counts requests that repeat a failed one: same account, token, requester, provider,
-- endpoint, model and body size, started within 60 s of its end. `cost_usd` and `retries_usd` are sums of known costs, NULL if
-- none is known; `unpriced` counts requests that `cost_usd` lacks, since the charge for a broken stream is often unknown.
-- Only requests `near` a failed one are sorted: similar requests from its first minute to the minute after its end.
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
