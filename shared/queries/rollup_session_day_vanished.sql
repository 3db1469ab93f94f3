-- After rollup_session_day: writes keys of the days that are no longer true again, with 0 requests.
INSERT INTO metrion.usage_session_days
(
    -- include session_day_key.sql
    , computed_at
)
SELECT
    -- include session_day_key.sql
    , {at:DateTime64(3, 'UTC')}
FROM metrion.usage_session_days FINAL
WHERE has({days:Array(DateTime('UTC'))}, bucket) AND bucket >= arrayMin({days:Array(DateTime('UTC'))})
    AND bucket <= arrayMax({days:Array(DateTime('UTC'))}) AND computed_at < {at:DateTime64(3, 'UTC')} AND requests > 0;
