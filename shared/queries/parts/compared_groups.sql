-- Groups and order for compared_whole.sql.
GROUP BY GROUPING SETS ((p.present, p.slot), (p.present, p.compared))
HAVING whole = 0 OR p.compared
ORDER BY whole, part, slot
