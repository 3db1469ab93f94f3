-- Groups and order for compared_whole.sql.
GROUP BY GROUPING SETS ((side, slot), (side), (side, passed))
HAVING whole = 0 OR passing = 1 OR side = 'period' AND passing = 2
ORDER BY whole, part, slot
