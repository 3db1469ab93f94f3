-- What did each model do in this period so far, and in as much of the one before? Requests with known cost, their input and output tokens,
-- and their cost; `unpriced` counts those with unknown cost, which are no part of the other figures.
SELECT
    toString(u.provider) AS provider,
    toString(u.model) AS model,
    u.bucket >= {since:DateTime64(6, 'UTC')} AS present,
    sumIf(u.requests, u.priced) AS requests,
    sumIf(ifNull(u.input_tokens, 0) + ifNull(u.output_tokens, 0), u.priced) AS tokens,
    ifNull(sumIf(u.cost, u.priced), 0) AS cost,
    sumIf(u.requests, NOT u.priced) AS unpriced
FROM metrion.{source:Identifier} AS u
-- include two_periods.sql
GROUP BY provider, model, present
HAVING requests + unpriced > 0;
