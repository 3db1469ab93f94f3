-- After rollup_sums: the same for wider spans of `span` seconds that start at `spans`, from the next narrower ones.
INSERT INTO metrion.usage_sums
(
    span, dims, account, bucket, provider, model, status, outcome, token,
    -- include measures_names.sql
    , computed_at
)
SELECT
    {span:UInt32}, f.dims, f.account,
    toDateTime(intDiv(toUnixTimestamp(f.bucket), {span:UInt32}) * {span:UInt32}, 'UTC') AS start,
    f.provider, f.model, f.status, f.outcome, f.token,
    -- include measures_again.sql
    , {at:DateTime64(3, 'UTC')}
FROM metrion.usage_sums AS f FINAL
WHERE f.span = {narrower:UInt32} AND start IN (SELECT arrayJoin({spans:Array(DateTime('UTC'))}))
  AND f.bucket >= arrayMin({spans:Array(DateTime('UTC'))})
  AND f.bucket < arrayMax({spans:Array(DateTime('UTC'))}) + {span:UInt32}
GROUP BY f.dims, f.account, start, f.provider, f.model, f.status, f.outcome, f.token;
