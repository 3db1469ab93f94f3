-- After rollup_session_day: set keys of older passes that no longer exist on these days to 0 requests.
INSERT INTO metrion.usage_session_days
(
    -- include session_day_key.sql
    , computed_at
)
SELECT
    -- include session_day_key.sql
    , {at:DateTime64(3, 'UTC')}
FROM metrion.usage_session_days FINAL
-- include older_days.sql
;
