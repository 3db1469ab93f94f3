-- Requesters, clients and models of these sessions in a period, at most four, four and nine: apart from their measures, as collecting names
-- of all sessions takes longer than all else. `source`: as in dashboard_sessions.sql.
SELECT
    u.account AS account,
    u.session AS session,
    arraySort(groupUniqArrayIf(4)(u.requester, u.requester != '')) AS requesters,
    arraySort(groupUniqArrayIf(4)(u.client, u.client != '')) AS clients,
    arraySort(groupUniqArrayArray(9)(u.model_names)) AS models
FROM metrion.{source:Identifier} AS u
WHERE u.bucket >= {since:DateTime64(6, 'UTC')} AND u.bucket < {until:DateTime64(6, 'UTC')}
GROUP BY account, session;
