-- Key columns of quarter.sql.
account, bucket, token, provider, model, stream, status, outcome, cache, usage_source, priced
