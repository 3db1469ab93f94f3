-- Whether a request of a session, read as `r`, repeats the one before it: that failed, ended at most ten minutes earlier and looked the
-- same: agent, endpoint, requested model and size.
lagInFrame(r.is_error) OVER alike
    AND r.started_at <= lagInFrame(r.started_at + toIntervalMillisecond(r.latency_ms)) OVER alike + INTERVAL 10 MINUTE AS is_repeat
