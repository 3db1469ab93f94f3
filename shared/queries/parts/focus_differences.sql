-- What providers charged beyond, or below, what is recorded: a row per provider and day of UTC whose costs `metrion reconcile --save` has
-- stored, with the columns of focus_lines.sql. Reports are of a whole organization, so the difference belongs to no account.
SELECT
    reported.day AS day, '(unattributed)' AS account, '' AS requester, toString(reported.provider) AS provider, '' AS model, '' AS tier,
    '{}' AS tags, true AS is_priced, false AS is_subscription, false AS estimated, '' AS reason,
    ('difference', '', '', toDecimal128(0, 3), reported.cost - recorded.cost, NULL) AS line
FROM metrion.reported_costs AS reported FINAL
LEFT JOIN
(
    SELECT toString(provider) AS provider, toDate(started_at, 'UTC') AS day, sum(ifNull(cost, 0)) AS cost
    FROM metrion.requests
    WHERE started_at >= toStartOfDay({since:DateTime64(6, 'UTC')}) AND started_at < toStartOfDay({until:DateTime64(6, 'UTC')}) + INTERVAL 1 DAY
      AND {account:String} = ''
    GROUP BY provider, day
) AS recorded ON recorded.provider = toString(reported.provider) AND recorded.day = reported.day
WHERE {account:String} = '' AND reported.cost != recorded.cost
  AND toDateTime(reported.day, 'UTC') >= {since:DateTime64(6, 'UTC')} AND toDateTime(reported.day, 'UTC') < {until:DateTime64(6, 'UTC')}
