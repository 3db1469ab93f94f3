-- version 11
-- Every view in its current shape, applied once per version after all migrations. Raise the version with each change of a view and
-- each new migration. A logger does not apply its views if a later version has been applied, so neither a rolling update nor a restart
-- of an older logger brings back an older shape.

-- One row per request: its newest version, regardless of redelivered and late events.
CREATE OR REPLACE VIEW metrion.requests AS
SELECT
    * EXCEPT (dialect, usage, spool, epoch, sequence),
    model_name, source, is_error, is_cache_hit, is_estimated, is_imported, is_answered, answered_latency_ms, answered_ttfb_ms
FROM metrion.response_events FINAL
-- all versions of a request have the same started_at, so none is in another month
SETTINGS do_not_merge_across_partitions_select_final = 1;

-- The figures of the rollup, computed from the requests: always correct, but reads every request.
CREATE OR REPLACE VIEW metrion.usage_live AS
SELECT
    requester,
    toStartOfHour(started_at) AS hour,
    -- include quarter.sql
FROM metrion.response_events AS events FINAL
GROUP BY requester, hour,
    -- include quarter_key.sql
SETTINGS do_not_merge_across_partitions_select_final = 1;

-- Usage for queries: buckets without requests since the last finished pass come from usage_15m, the others from the requests
-- themselves, so that nothing is late or counted twice. An insert is visible within three minutes of its ingested_at.
-- The requests are not read through usage_live, where the condition would apply only after FINAL has merged them.
CREATE OR REPLACE VIEW metrion.usage AS
WITH
    -- include touched.sql
SELECT
    requester,
    -- include quarter.sql
FROM metrion.response_events AS events FINAL
-- include fresh.sql
GROUP BY requester,
    -- include quarter_key.sql
SETTINGS do_not_merge_across_partitions_select_final = 1
UNION ALL
SELECT
    requester,
    -- include quarter_names.sql
FROM metrion.usage_15m FINAL
WHERE NOT has(touched, bucket) AND requests > 0
SETTINGS do_not_merge_across_partitions_select_final = 1;

-- The same without the requester.
CREATE OR REPLACE VIEW metrion.usage_totals AS
WITH
    -- include touched.sql
SELECT
    -- include quarter.sql
FROM metrion.response_events AS events FINAL
-- include fresh.sql
GROUP BY
    -- include quarter_key.sql
SETTINGS do_not_merge_across_partitions_select_final = 1
UNION ALL
SELECT
    -- include quarter_names.sql
FROM metrion.usage_totals_15m FINAL
WHERE NOT has(touched, bucket) AND requests > 0
SETTINGS do_not_merge_across_partitions_select_final = 1;

-- Progress of the rollup, in one row. `touched`: quarter hours with requests since the last finished pass, which must be read from the
-- requests; `narrow`: whether a pass has written the narrower sums. The dashboard reads this first, then the tables for all other buckets.
CREATE OR REPLACE VIEW metrion.usage_settled AS
WITH
    -- include touched.sql
SELECT touched, narrow;

-- Failed and unpriced requests, computed from the requests: always correct, but reads every request.
CREATE OR REPLACE VIEW metrion.usage_faults_live AS
SELECT
    -- include faults.sql
    , toStartOfHour(started_at) AS hour
FROM metrion.response_events AS events FINAL
-- include faults_where.sql
GROUP BY
    -- include faults_key.sql
    , hour
SETTINGS do_not_merge_across_partitions_select_final = 1;

-- Failed and unpriced requests for queries: like the view `usage`, from usage_faults_15m for buckets without new requests, else from
-- the requests. Until a pass has written the table, everything comes from the requests.
CREATE OR REPLACE VIEW metrion.usage_faults AS
WITH
    -- include touched.sql
SELECT
    -- include faults.sql
FROM metrion.response_events AS events FINAL
PREWHERE NOT narrow OR toStartOfHour(started_at) IN (SELECT toStartOfHour(arrayJoin(touched)))
    AND has(touched, toStartOfFifteenMinutes(toDateTime(started_at, 'UTC')))
-- include faults_where.sql
GROUP BY
    -- include faults_key.sql
SETTINGS do_not_merge_across_partitions_select_final = 1
UNION ALL
SELECT
    -- include faults_key.sql
    ,
    -- include faults_sums.sql
FROM metrion.usage_faults_15m FINAL
PREWHERE narrow AND NOT has(touched, bucket)
WHERE requests > 0
SETTINGS do_not_merge_across_partitions_select_final = 1;
