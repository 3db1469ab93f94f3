-- `touched`: buckets with requests since the last finished pass. `narrow`: whether a pass has written the narrower sums.
(
    SELECT tuple(maxIf(up_to, pass = 'refresh'), maxIf(up_to, pass = 'sums'), argMaxIf(rows_from, up_to, pass = 'refresh'))
    FROM metrion.rollup_passes
) AS state,
assumeNotNull(state.2) > toDateTime64(0, 3, 'UTC') AS narrow,
(
    SELECT groupUniqArray(toStartOfFifteenMinutes(toDateTime(started_at, 'UTC')))
    FROM metrion.response_events
    WHERE ingested_at > if(narrow, least(state.1, state.2), state.1) - INTERVAL 3 MINUTE AND started_at >= state.3
) AS touched
