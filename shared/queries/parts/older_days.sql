-- Rows of earlier passes on these days, which the pass that began at `at` did not write again.
WHERE has({days:Array(DateTime('UTC'))}, bucket) AND bucket >= arrayMin({days:Array(DateTime('UTC'))})
    AND bucket <= arrayMax({days:Array(DateTime('UTC'))}) AND computed_at < {at:DateTime64(3, 'UTC')} AND requests > 0
