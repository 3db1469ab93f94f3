-- How a session uses the provider's prompt cache: 'never read' where it was written and no later request read it, 'not used' where at
-- least five requests of 2,048 input tokens on average neither wrote nor read it.
multiIf(
    cache_read > 0, '',
    cache_written > 0 AND requests > 1, 'never read',
    cache_written = 0 AND requests >= 5 AND input_tokens >= 2048 * requests, 'not used',
    '')
