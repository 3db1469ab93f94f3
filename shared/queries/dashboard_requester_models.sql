-- Which models did these requesters use, and how often? One row per requester.
SELECT
    u.requester AS requester,
    -- measures: once
FROM metrion.{source:Identifier} AS u
WHERE u.bucket >= {since:DateTime64(6, 'UTC')} AND u.bucket < {until:DateTime64(6, 'UTC')}
  AND u.requester IN (SELECT arrayJoin({names:Array(String)}))
GROUP BY u.requester;
