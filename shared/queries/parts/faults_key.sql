-- Key columns of faults.
account, bucket, requester, token, provider, model, status, outcome, error_type, cache, usage_source, priced, cost_reason
