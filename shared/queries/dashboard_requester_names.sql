-- Which requesters have a name that contains `search`, in upper or lower case? At most `limit`: the one of exactly this name first, then names
-- that begin with it, then by cost. `matches` is the number of all. '' matches every name.
SELECT
    u.requester AS requester,
    sum(u.requests) AS requests,
    sum(u.cost) AS cost,
    count() OVER () AS matches
FROM metrion.{source:Identifier} AS u
WHERE u.bucket >= {since:DateTime64(6, 'UTC')} AND u.bucket < {until:DateTime64(6, 'UTC')}
  AND u.requester != '' AND positionCaseInsensitiveUTF8(u.requester, {search:String}) > 0
GROUP BY requester
HAVING requests > 0
ORDER BY
    requester = {search:String} DESC,
    positionCaseInsensitiveUTF8(requester, {search:String}) = 1 DESC,
    cost DESC NULLS LAST,
    requester
LIMIT {limit:UInt32};
