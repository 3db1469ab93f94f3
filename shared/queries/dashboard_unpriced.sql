-- Which requests are without a cost, and why? One row a provider, model and reason, the most frequent first.
-- Not through the view `requests`, which merges every request of the period to find the few: read are the versions that look so, and those
-- that may have taken the place of one (a later answer, priced again), and of each request the newest counts.
SELECT
    r.provider AS provider,
    r.name AS name,
    r.reason AS reason,
    count() AS requests,
    sum(r.input) AS input_tokens,
    sum(r.output) AS output_tokens
FROM
(
    SELECT
        any(e.provider) AS provider,
        argMax(tuple(e.status, e.cache, e.cost, e.cost_reason, e.input_tokens, e.output_tokens, e.model, e.model_requested),
            (e.version, e.ingested_at)) AS newest,
        newest.1 AS status, newest.2 AS cache, newest.3 AS cost, newest.4 AS reason, newest.5 AS input, newest.6 AS output,
        if(newest.7 = '', newest.8, newest.7) AS name
    FROM metrion.response_events AS e
    WHERE e.started_at >= {since:DateTime64(6, 'UTC')} AND e.started_at < {until:DateTime64(6, 'UTC')}
      AND ({account:String} = '' OR e.account = {account:String})
      AND ({provider:String} = '' OR e.provider = {provider:String})
      AND ({any_token:UInt8} OR e.token = {token:String})
      AND ({any_requester:UInt8} OR e.requester = {requester:String})
      AND ({meta_key:String} = '' OR mapContains(e.metadata, {meta_key:String}) AND e.metadata[{meta_key:String}] = {meta_value:String})
      AND (e.cost IS NULL
        OR e.version > 2
        OR e.id IN (
            SELECT id FROM metrion.response_events
            WHERE version = 1 AND started_at >= {since:DateTime64(6, 'UTC')} AND started_at < {until:DateTime64(6, 'UTC')}))
    GROUP BY e.id
) AS r
WHERE ({any_model:UInt8} OR r.name = {model:String})
  AND r.status BETWEEN {status_from:UInt16} AND {status_to:UInt16}
  AND ({cache:String} = '' OR (r.cache = 'HIT') = ({cache:String} = 'yes'))
  AND {cost:String} != 'estimated'
  AND r.cost IS NULL
GROUP BY provider, name, reason
ORDER BY requests DESC, provider, name, reason
LIMIT {limit:UInt32};
