-- Usage, read as `u`: whether it is of the period (`present`), its `slot` there, and whether it is in what is compared. See dashboard_compared.sql.
u.bucket >= {since:DateTime64(6, 'UTC')} AS present,
intDiv(
    if({step:UInt32} < 86400,
        toUnixTimestamp(u.bucket) - if(present, toUnixTimestamp(since), toUnixTimestamp(before_since)),
        86400 * (toDate(u.bucket, {tz:String}) - if(present, toDate(since, {tz:String}), toDate(before_since, {tz:String})))),
    {step:UInt32}) AS slot,
present OR u.bucket < {before_cut:DateTime64(6, 'UTC')} AS compared,
