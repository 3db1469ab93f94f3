-- After rollup_totals_vanished: narrower sums of the same quarter hours; see metrion.usage_sums. Keys with 0 requests are written too.
INSERT INTO metrion.usage_sums
(
    span, dims, account, bucket, provider, model, status, outcome, token,
    -- include measures_names.sql
    , computed_at
)
SELECT
    900, multiIf(grouping(f.model) = 0, 'model', grouping(f.status) = 0, 'status', 'token'),
    f.account, f.bucket, f.provider, f.model, f.status, f.outcome, f.token,
    -- include measures.sql
    , {at:DateTime64(3, 'UTC')}
FROM metrion.usage_totals_15m AS f FINAL
WHERE f.bucket IN (SELECT arrayJoin({buckets:Array(DateTime('UTC'))}))
GROUP BY GROUPING SETS
(
    (f.account, f.bucket, f.provider, f.model),
    (f.account, f.bucket, f.status, f.outcome),
    (f.account, f.bucket, f.token)
);
