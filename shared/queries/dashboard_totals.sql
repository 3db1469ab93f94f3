-- What came, failed and cost? One row for the `period`; to compare like with like one for what `passed` of it until `cut`, and one
-- for as much of the period `before`. A part without requests has no row.
-- `source` is the smallest view that can answer: usage_totals, with `who` any column of it; usage, with `who` = requester, where
-- requesters are asked for; usage_live where metadata is (see additional_table_filters in services/dashboard/panels.py).
-- `cost` is the sum of what is known, NULL when nothing is; `unpriced` counts the requests it lacks, `estimated` those whose
-- tokens are. Latency is that of complete answers from the provider: no errors, no cache hits.
WITH
    u.outcome = 'complete' AND u.status < 400 AND u.cache != 'HIT' AS answered,
    arrayJoin(arrayFilter(one -> one != '', [
        if(u.bucket >= {since:DateTime64(6, 'UTC')}, 'period', ''),
        if(u.bucket >= {since:DateTime64(6, 'UTC')} AND u.bucket < {cut:DateTime64(6, 'UTC')}, 'passed', ''),
        if(u.bucket < {since:DateTime64(6, 'UTC')} AND u.bucket < {before_cut:DateTime64(6, 'UTC')}, 'before', '')])) AS part
SELECT
    part,
    sum(u.requests) AS requests,
    sum(u.errors) AS errors,
    sumIf(u.requests, u.cache = 'HIT') AS hits,
    sum(u.input_tokens) AS input_tokens,
    sum(u.output_tokens) AS output_tokens,
    sum(u.cost) AS cost,
    sum(u.unpriced) AS unpriced,
    sumIf(u.requests, u.priced AND u.usage_source = 'estimated') AS estimated,
    sum(u.cost_saved) AS saved,
    sumIf(u.latency_sum, answered) / nullIf(sumIf(u.latency_count, answered), 0) AS latency_mean,
    sumIf(u.ttfb_sum, answered) / nullIf(sumIf(u.ttfb_count, answered), 0) AS first_byte_mean,
    quantilesTDigestMergeIf(0.5, 0.95, 0.99)(u.latency, answered) AS latency,
    quantilesTDigestMergeIf(0.5, 0.95, 0.99)(u.ttfb, answered) AS first_byte,
    sumIf(u.requests, u.cache != '') AS cacheable,
    sumIf(u.cost, u.usage_source = 'estimated') AS estimated_cost,
    sum(u.cache_read_tokens) AS cache_read_tokens,
    sum(u.cache_write_tokens) AS cache_write_tokens,
    sum(u.reasoning_tokens) AS reasoning_tokens,
    sumMap(u.cost_by_class) AS cost_by_class
FROM metrion.{source:Identifier} AS u
WHERE (u.bucket >= {since:DateTime64(6, 'UTC')} AND u.bucket < {until:DateTime64(6, 'UTC')} OR u.bucket >= {before_since:DateTime64(6, 'UTC')} AND u.bucket < {before_until:DateTime64(6, 'UTC')})
  AND ({account:String} = '' OR u.account = {account:String})
  AND ({provider:String} = '' OR u.provider = {provider:String})
  AND ({any_model:UInt8} OR u.model = {model:String})
  AND ({any_token:UInt8} OR u.token = {token:String})
  AND ({any_requester:UInt8} OR {who:Identifier} = {requester:String})
  AND u.status BETWEEN {status_from:UInt16} AND {status_to:UInt16}
  AND ({cache:String} = '' OR (u.cache = 'HIT') = ({cache:String} = 'yes'))
  AND ({cost:String} = '' OR if({cost:String} = 'unknown', NOT u.priced, u.priced AND u.usage_source = 'estimated'))
GROUP BY part;
