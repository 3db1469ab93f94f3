-- What was the money paid for: input, output, what the provider's cache holds …? One row.
SELECT
    -- measures: once
FROM metrion.{source:Identifier} AS u
WHERE u.bucket >= {since:DateTime64(6, 'UTC')} AND u.bucket < {until:DateTime64(6, 'UTC')};
