-- What was the money spent on: input, output, the provider's cache and so on? One row.
SELECT
    -- measures: once
FROM metrion.{source:Identifier} AS u
WHERE u.bucket >= {since:DateTime64(6, 'UTC')} AND u.bucket < {until:DateTime64(6, 'UTC')};
