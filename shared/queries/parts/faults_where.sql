-- Which of the requests, read as `events`, failed or have no known cost.
WHERE events.is_error OR events.cost IS NULL
