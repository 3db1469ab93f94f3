-- The same as dashboard_logs_histogram.sql from the requests themselves: supports a search text, and reads every request.
SELECT
    intDiv(
        if({step:UInt32} < 86400,
            dateDiff('second', {since:DateTime64(6, 'UTC')}, r.started_at),
            86400 * dateDiff('day', {since:DateTime64(6, 'UTC')}, r.started_at, {tz:String})),
        {step:UInt32}) AS slot,
    grouping(slot) AS whole,
    count() AS requests,
    countIf(r.is_cache_hit) AS hits,
    countIf(NOT r.is_cache_hit AND r.status > 0 AND r.status < 400 AND NOT r.is_error) AS ok,
    countIf(NOT r.is_cache_hit AND r.status > 0 AND r.status < 400 AND r.is_error) AS broken,
    countIf(NOT r.is_cache_hit AND r.status BETWEEN 400 AND 499) AS refused,
    countIf(NOT r.is_cache_hit AND r.status >= 500) AS failed,
    countIf(r.status = 0) AS interrupted,
    sum(r.input_tokens) AS input_tokens,
    sum(r.output_tokens) AS output_tokens,
    sum(r.cost) AS cost,
    countIf(r.cost IS NULL) AS unpriced
FROM metrion.response_events AS r FINAL
WHERE r.started_at >= {since:DateTime64(6, 'UTC')} AND r.started_at < {until:DateTime64(6, 'UTC')}
  -- include request_filters.sql
  -- include request_search.sql
GROUP BY GROUPING SETS ((slot), ())
ORDER BY whole DESC, slot
SETTINGS do_not_merge_across_partitions_select_final = 1;
