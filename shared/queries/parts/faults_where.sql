-- Condition on requests, read as `events`: failed or without a known cost.
WHERE events.is_error OR events.cost IS NULL
