-- Claims of batches with the version and tokens billed so far; `version` is 0 for a batch that is not billed yet. A claim is
-- `settled` once it is this many seconds old.
SELECT
    claims.* EXCEPT (priority, ingested_at),
    claims.ingested_at <= now64(3) - toIntervalMillisecond(toInt64({settled:Float64} * 1000)) AS settled,
    billed.version AS version,
    billed.tokens AS tokens
FROM (SELECT * FROM metrion.batches FINAL WHERE batch IN {batches:Array(String)}) AS claims
LEFT JOIN
(
    SELECT
        id,
        max(rows.version) AS version,
        argMax(ifNull(input_tokens, 0) + ifNull(output_tokens, 0), rows.version) AS tokens
    FROM metrion.response_events AS rows
    WHERE id IN (SELECT id FROM metrion.batches WHERE batch IN {batches:Array(String)})
    GROUP BY id
) AS billed ON claims.id = billed.id
ORDER BY account, provider, batch;
