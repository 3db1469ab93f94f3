-- Recompute failed and unpriced requests of whole buckets, in a pass that began at `at`.
INSERT INTO metrion.usage_faults_15m
(
    -- include faults_key.sql
    ,
    -- include faults_sums.sql
    , computed_at
)
SELECT
    -- include faults_key.sql
    ,
    -- include faults_sums.sql
    , {at:DateTime64(3, 'UTC')}
FROM metrion.usage_faults_live
WHERE hour IN (SELECT toStartOfHour(arrayJoin({buckets:Array(DateTime('UTC'))})))
  AND has({buckets:Array(DateTime('UTC'))}, bucket);
