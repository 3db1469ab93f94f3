-- Usage, read as `u`: the bucket's number from the start of the period. See dashboard_compared.sql.
intDiv(
    if({step:UInt32} < 86400,
        toUnixTimestamp(u.bucket) - toUnixTimestamp({since:DateTime64(6, 'UTC')}),
        86400 * (toDate(u.bucket, {tz:String}) - toDate({since:DateTime64(6, 'UTC')}, {tz:String}))),
    {step:UInt32}) AS slot,
