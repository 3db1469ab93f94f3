-- Groups and order for compared_whole.sql.
GROUP BY GROUPING SETS ((side, slot), (side, compared))
HAVING whole = 0 OR compared
ORDER BY whole, part, slot
