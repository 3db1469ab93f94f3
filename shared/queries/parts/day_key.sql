-- Key columns of metrion.usage_days.
account, bucket, requester, token, provider, model, endpoint, status, outcome, cache, client, agent, billing, metadata, is_failed, is_priced,
is_guessed
