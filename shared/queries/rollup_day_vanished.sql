-- After rollup_day: set keys of older passes that no longer exist on these days to 0 requests.
INSERT INTO metrion.usage_days
(
    -- include day_key.sql
    , computed_at
)
SELECT
    -- include day_key.sql
    , {at:DateTime64(3, 'UTC')}
FROM metrion.usage_days FINAL
-- include older_days.sql
;
