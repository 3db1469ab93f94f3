-- Key columns of metrion.usage_session_days.
account, bucket, session, client, agent, billing, requester
