-- Sums of compared.sql, read as `p`: `part`, `whole`, `slot` and `passing` of dashboard_compared.sql.
if(whole = 1 AND side = 'period' AND passing = 1, 'passed', toString(side)) AS part,
grouping(slot) AS whole,
slot,
if(grouping(passed) = 1, 2, passed) AS passing,
