-- Sums of compared.sql, read as `p`: `part`, `whole` and `slot` of dashboard_compared.sql.
toString(side) AS part,
grouping(slot) AS whole,
slot,
