-- What tells rows of quarter.sql apart.
account, bucket, token, provider, model, stream, status, outcome, cache, usage_source, priced
