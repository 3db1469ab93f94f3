-- Column names of quarter.sql, in its order.
-- include quarter_key.sql
, latency, ttfb,
-- include names.sql
