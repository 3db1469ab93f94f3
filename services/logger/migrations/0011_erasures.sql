-- One row a requester's data that was erased on request: who did it, when, and how many rows of which table. The requester
-- stands here as a SHA-256 of account and name, so that the record does not keep what was to be forgotten. finished = 0 and no
-- row with 1: it was cut short, run it again.
CREATE TABLE IF NOT EXISTS metrion.erasures
(
    id           UUID,
    at           DateTime64(3, 'UTC'),
    by           String,
    note         String,
    account      String,
    requester_sha256 FixedString(64),
    finished     UInt8,
    rows         Map(String, UInt64)
)
ENGINE = ReplacingMergeTree(finished)
ORDER BY (at, id);
