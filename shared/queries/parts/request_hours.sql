-- Condition on requests, read as `r`: only certain hours, which the primary key finds; all hours for [].
AND ({hours:Array(DateTime('UTC'))} = [] OR toStartOfHour(r.started_at) IN (SELECT arrayJoin({hours:Array(DateTime('UTC'))})))
