-- Progress of the rollup. `rows_from`: requests of older buckets may be deleted already, by their table's TTL.
WITH
    (
        SELECT toUInt32OrZero(extract(engine_full, 'TTL .*?toIntervalDay\\((\\d+)\\)')) FROM system.tables
        WHERE database = 'metrion' AND name = 'response_events'
    ) AS kept
SELECT
    now64(3, 'UTC') AS now,
    maxIf(up_to, pass = 'refresh') AS refreshed,
    maxIf(up_to, pass = 'sums') AS narrowed,
    maxIf(up_to, pass = 'verify') AS verified,
    maxIf(up_to, pass = 'day sums') AS days_summed,
    if(kept = 0, toDateTime(0, 'UTC'), toStartOfDay(now('UTC')) - toIntervalDay(kept) + toIntervalDay(1)) AS rows_from
FROM metrion.rollup_passes;
