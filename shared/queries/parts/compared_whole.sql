-- Sums of compared.sql, read as `p`: `part`, `whole` and `slot` of dashboard_compared.sql.
if(p.present, 'period', 'before') AS part,
grouping(p.slot) AS whole,
p.slot AS slot,
