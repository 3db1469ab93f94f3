-- Which errors were there? One row a provider, status and error, the most frequent first.
-- Not through the view `requests`, which merges every request of the period to find the few: read are the versions that look so, and those
-- that may have taken the place of one (a later answer, priced again), and of each request the newest counts.
SELECT
    r.provider AS provider,
    r.status AS status,
    r.outcome AS outcome,
    r.error_type AS error_type,
    count() AS errors,
    uniqExact(r.requester) AS requesters,
    max(r.started_at) AS last_seen
FROM
(
    SELECT
        any(e.provider) AS provider, any(e.requester) AS requester, any(e.started_at) AS started_at,
        argMax(tuple(e.status, e.outcome, e.error_type, e.cache, e.cost, e.usage_source, e.model, e.model_requested),
            (e.version, e.ingested_at)) AS newest,
        newest.1 AS status, newest.2 AS outcome, newest.3 AS error_type, newest.4 AS cache, newest.5 AS cost,
        newest.6 AS usage_source, if(newest.7 = '', newest.8, newest.7) AS name
    FROM metrion.response_events AS e
    WHERE e.started_at >= {since:DateTime64(6, 'UTC')} AND e.started_at < {until:DateTime64(6, 'UTC')}
      AND ({account:String} = '' OR e.account = {account:String})
      AND ({provider:String} = '' OR e.provider = {provider:String})
      AND ({any_token:UInt8} OR e.token = {token:String})
      AND ({any_requester:UInt8} OR e.requester = {requester:String})
      AND ({meta_key:String} = '' OR mapContains(e.metadata, {meta_key:String}) AND e.metadata[{meta_key:String}] = {meta_value:String})
      AND (e.outcome NOT IN ('complete', 'client_closed') OR e.outcome = 'complete' AND (e.status >= 400 OR e.error_type != '')
        OR e.version > 2
        OR e.id IN (
            SELECT id FROM metrion.response_events
            WHERE version = 1 AND started_at >= {since:DateTime64(6, 'UTC')} AND started_at < {until:DateTime64(6, 'UTC')}))
    GROUP BY e.id
) AS r
WHERE ({any_model:UInt8} OR r.name = {model:String})
  AND r.status BETWEEN {status_from:UInt16} AND {status_to:UInt16}
  AND ({cache:String} = '' OR (r.cache = 'HIT') = ({cache:String} = 'yes'))
  AND ({cost:String} = '' OR if({cost:String} = 'unknown', r.cost IS NULL, r.cost IS NOT NULL AND r.usage_source = 'estimated'))
  AND (r.outcome NOT IN ('complete', 'client_closed') OR r.outcome = 'complete' AND (r.status >= 400 OR r.error_type != ''))
GROUP BY provider, status, outcome, error_type
ORDER BY errors DESC, last_seen DESC
LIMIT {limit:UInt32};
