-- Percentiles 50, 95 and 99 of latency and of the time to first byte, of each model with its provider (`panel` = 'models_percentiles'), and of
-- each provider ('providers_percentiles'). Milliseconds, for successful responses that did not come from the cache. See dashboard_compared.sql.
-- Most of the time goes into merging digests: those of a provider are those of its models.
SELECT
    if(grouping(p.model) = 0, 'models_percentiles', 'providers_percentiles') AS panel,
    if(grouping(p.model) = 0, p.model, p.provider) AS name,
    p.provider AS beside,
    -- measures: outer
FROM
(
    SELECT
        toString(u.provider) AS provider,
        toString(u.model) AS model,
        -- measures: inner
    FROM metrion.{source:Identifier} AS u
    WHERE u.bucket >= {since:DateTime64(6, 'UTC')} AND u.bucket < {until:DateTime64(6, 'UTC')}
    GROUP BY provider, model
) AS p
GROUP BY GROUPING SETS ((p.provider, p.model), (p.provider));
