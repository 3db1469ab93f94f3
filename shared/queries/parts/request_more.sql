-- Further columns of a row in the list of requests, which the list shows when they are chosen.
leftUTF8(r.token, 81) AS token,
r.endpoint AS endpoint,
leftUTF8(r.client, 81) AS client,
leftUTF8(r.session, 81) AS session,
leftUTF8(r.model_requested, 81) AS model_requested,
r.cache_read_tokens AS cache_read_tokens,
r.ttfb_ms AS ttfb_ms,
