-- version 5
-- Every view, in its present shape: applied once per version, after all migrations. Raise the version with each change of a view
-- or a new migration. A logger leaves the views alone where a later version has been applied, so a rolling update or a restart of an
-- older logger never shows an older shape.

-- One row per request, its newest version, whatever was redelivered or arrived late.
CREATE OR REPLACE VIEW metrion.requests AS
SELECT
    * EXCEPT (dialect, usage, spool, epoch, sequence),
    model_name, is_error, is_cache_hit, is_estimated, is_answered, answered_latency_ms, answered_ttfb_ms
FROM metrion.response_events FINAL
-- every version of a request bears the same started_at, so none lies in another month
SETTINGS do_not_merge_across_partitions_select_final = 1;

-- The same figures computed from the requests as they stand: right at any time, and as slow as reading them all.
CREATE OR REPLACE VIEW metrion.usage_live AS
SELECT
    requester,
    toStartOfHour(started_at) AS hour,
    -- include quarter.sql
FROM metrion.response_events AS events FINAL
GROUP BY requester, hour,
    -- include quarter_key.sql
SETTINGS do_not_merge_across_partitions_select_final = 1;

-- What to count usage by: from usage_15m where no request of a bucket has come since the last finished pass, else from the
-- requests themselves; so never late and never twice. An insert is visible within three minutes of its ingested_at.
-- The requests are read here and not through usage_live, whose condition would come after FINAL has merged what it read.
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

-- How far the rollup is, in one row. `touched`: the quarters that must be taken from the requests, for some have come since the last finished
-- pass; `narrow`: one has written the narrower sums. Who asks much at once asks this first, and then the tables for what is not touched.
CREATE OR REPLACE VIEW metrion.usage_settled AS
WITH
    -- include touched.sql
SELECT touched, narrow;

-- The same computed from the requests as they stand: right at any time, and as slow as reading them all.
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

-- From usage_faults_15m where no request of a bucket has come since the last finished pass, else from the requests, as the view
-- `usage`. Until a pass has written the table there are only requests.
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
