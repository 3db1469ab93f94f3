-- Recompute whole buckets from their requests, in a pass that began at `at`.
INSERT INTO metrion.usage_15m
(
    requester,
    -- include quarter_names.sql
    , computed_at
)
SELECT
    requester,
    -- include quarter_names.sql
    , {at:DateTime64(3, 'UTC')}
FROM metrion.usage_live
WHERE hour IN (SELECT toStartOfHour(arrayJoin({buckets:Array(DateTime('UTC'))})))
  AND has({buckets:Array(DateTime('UTC'))}, bucket);
