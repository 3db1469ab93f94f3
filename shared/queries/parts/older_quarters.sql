-- Rows of earlier passes in these quarter hours, which the pass that began at `at` did not write again.
WHERE bucket IN (SELECT arrayJoin({buckets:Array(DateTime('UTC'))}))
    AND computed_at < {at:DateTime64(3, 'UTC')} AND requests > 0
