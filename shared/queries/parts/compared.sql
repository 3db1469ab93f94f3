-- Usage, read as `u`: its `side`, its `slot` there, and whether it is in what is compared. See dashboard_compared.sql.
if(u.bucket >= {since:DateTime64(6, 'UTC')}, 'period', 'before') AS side,
intDiv(
    if({step:UInt32} < 86400,
        toUnixTimestamp(u.bucket) - if(side = 'period', toUnixTimestamp(since), toUnixTimestamp(before_since)),
        86400 * (toDate(u.bucket, {tz:String}) - if(side = 'period', toDate(since, {tz:String}), toDate(before_since, {tz:String})))),
    {step:UInt32}) AS slot,
side = 'period' OR u.bucket < {before_cut:DateTime64(6, 'UTC')} AS compared,
