-- Usage, read as `u`, of the period as far as it has come, and of as much of the one before.
WHERE (u.bucket >= {since:DateTime64(6, 'UTC')} AND u.bucket < {until:DateTime64(6, 'UTC')}
    OR u.bucket >= {before_since:DateTime64(6, 'UTC')} AND u.bucket < {before_until:DateTime64(6, 'UTC')})
