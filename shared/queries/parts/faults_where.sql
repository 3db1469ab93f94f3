-- Which of the requests, read as `events`, failed or have no known cost.
WHERE outcome NOT IN ('complete', 'client_closed') OR outcome = 'complete' AND (status >= 400 OR error_type != '')
    OR events.cost IS NULL
