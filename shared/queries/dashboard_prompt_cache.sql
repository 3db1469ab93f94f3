-- Use of the providers' prompt caches in a period by a dimension (`by`: session, requester, model or client), ordered by `measure`, at
-- most `limit` after `offset`; `groups` is the number of rows, the columns all_… are their totals. A session belongs to one account:
-- other dimensions have '' in its place. `only` 'wasted' keeps sessions whose cache is never read or not used.
SELECT
    *,
    count() OVER () AS groups,
    sum(requests) OVER () AS all_requests,
    sum(input_tokens) OVER () AS all_input_tokens,
    sum(cache_read) OVER () AS all_cache_read,
    sum(cache_written) OVER () AS all_cache_written,
    sum(cache_saved) OVER () AS all_cache_saved,
    sum(cache_extra) OVER () AS all_cache_extra,
    sum(cache_net) OVER () AS all_cache_net,
    sum(cache_unknown) OVER () AS all_cache_unknown
FROM (
    SELECT
        if({by:String} = 'session', r.account, '') AS owner,
        multiIf({by:String} = 'session', r.session, {by:String} = 'requester', r.requester, {by:String} = 'client', r.client,
            r.model_name) AS name,
        -- include prompt_cache.sql
        ,
        if({by:String} != 'session' OR name = '', '', (
            -- include prompt_cache_use.sql
        )) AS cache_use
    FROM metrion.response_events AS r FINAL
    PREWHERE r.started_at >= {since:DateTime64(6, 'UTC')} AND r.started_at < {until:DateTime64(6, 'UTC')}
    WHERE NOT r.is_cache_hit AND r.input_tokens > 0
      -- include request_filters.sql
    GROUP BY owner, name
)
WHERE {only:String} = '' OR cache_use != ''
ORDER BY {measure:Identifier} DESC NULLS LAST, cost DESC NULLS LAST, requests DESC, owner, name
LIMIT {limit:UInt32} OFFSET {offset:UInt32}
SETTINGS do_not_merge_across_partitions_select_final = 1;
