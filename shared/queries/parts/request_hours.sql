-- Of requests, read as `r`: those of certain hours, which the primary key finds; of all for [].
AND ({hours:Array(DateTime('UTC'))} = [] OR toStartOfHour(r.started_at) IN (SELECT arrayJoin({hours:Array(DateTime('UTC'))})))
