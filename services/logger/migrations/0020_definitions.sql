-- What queries, pages, reports and exports mean by an error, a cache hit, an estimate … is defined here and nowhere else.
-- Computed when read; the view `requests` lists them. A client that leaves is no error. An estimate is a known cost that rests on
-- estimated tokens or on a guessed price; a cache hit costs exactly 0. Latency is averaged over successful responses of providers.
ALTER TABLE metrion.response_events
    ADD COLUMN IF NOT EXISTS model_name LowCardinality(String) ALIAS if(model = '', model_requested, model),
    ADD COLUMN IF NOT EXISTS is_error Bool ALIAS
        outcome NOT IN ('complete', 'client_closed') OR (outcome = 'complete' AND (status >= 400 OR error_type != '')),
    ADD COLUMN IF NOT EXISTS is_cache_hit Bool ALIAS cache = 'HIT',
    ADD COLUMN IF NOT EXISTS is_estimated Bool ALIAS
        cost IS NOT NULL AND cache != 'HIT' AND (usage_source = 'estimated' OR cost_source = 'estimated'),
    ADD COLUMN IF NOT EXISTS is_answered Bool ALIAS outcome = 'complete' AND status < 400 AND error_type = '' AND cache != 'HIT',
    ADD COLUMN IF NOT EXISTS answered_latency_ms Nullable(UInt32) ALIAS if(is_answered, latency_ms, NULL),
    ADD COLUMN IF NOT EXISTS answered_ttfb_ms Nullable(UInt32) ALIAS if(is_answered, ttfb_ms, NULL);

-- The rollup counts them. Rows of before have what their key says until a pass computes them again.
ALTER TABLE metrion.usage_15m
    ADD COLUMN IF NOT EXISTS hits UInt64 DEFAULT if(cache = 'HIT', requests, 0) CODEC(T64, ZSTD(1)) AFTER errors,
    ADD COLUMN IF NOT EXISTS estimated UInt64
        DEFAULT if(priced AND usage_source = 'estimated' AND cache != 'HIT', requests, 0) CODEC(T64, ZSTD(1)) AFTER unpriced,
    ADD COLUMN IF NOT EXISTS estimated_cost Nullable(Decimal(38, 12)) DEFAULT if(estimated > 0, cost, NULL) AFTER estimated,
    ADD COLUMN IF NOT EXISTS answered UInt64
        DEFAULT if(outcome = 'complete' AND status < 400 AND cache != 'HIT', latency_count, 0) CODEC(T64, ZSTD(1)) AFTER saved_output_tokens,
    ADD COLUMN IF NOT EXISTS answered_ms UInt64 DEFAULT if(answered > 0, latency_sum, 0) CODEC(T64, ZSTD(1)) AFTER answered,
    ADD COLUMN IF NOT EXISTS first_bytes UInt64 DEFAULT if(answered > 0, ttfb_count, 0) CODEC(T64, ZSTD(1)) AFTER answered_ms,
    ADD COLUMN IF NOT EXISTS first_byte_ms UInt64 DEFAULT if(answered > 0, ttfb_sum, 0) CODEC(T64, ZSTD(1)) AFTER first_bytes;
ALTER TABLE metrion.usage_totals_15m
    ADD COLUMN IF NOT EXISTS hits UInt64 DEFAULT if(cache = 'HIT', requests, 0) CODEC(T64, ZSTD(1)) AFTER errors,
    ADD COLUMN IF NOT EXISTS estimated UInt64
        DEFAULT if(priced AND usage_source = 'estimated' AND cache != 'HIT', requests, 0) CODEC(T64, ZSTD(1)) AFTER unpriced,
    ADD COLUMN IF NOT EXISTS estimated_cost Nullable(Decimal(38, 12)) DEFAULT if(estimated > 0, cost, NULL) AFTER estimated,
    ADD COLUMN IF NOT EXISTS answered UInt64
        DEFAULT if(outcome = 'complete' AND status < 400 AND cache != 'HIT', latency_count, 0) CODEC(T64, ZSTD(1)) AFTER saved_output_tokens,
    ADD COLUMN IF NOT EXISTS answered_ms UInt64 DEFAULT if(answered > 0, latency_sum, 0) CODEC(T64, ZSTD(1)) AFTER answered,
    ADD COLUMN IF NOT EXISTS first_bytes UInt64 DEFAULT if(answered > 0, ttfb_count, 0) CODEC(T64, ZSTD(1)) AFTER answered_ms,
    ADD COLUMN IF NOT EXISTS first_byte_ms UInt64 DEFAULT if(answered > 0, ttfb_sum, 0) CODEC(T64, ZSTD(1)) AFTER first_bytes;
ALTER TABLE metrion.usage_faults_15m
    ADD COLUMN IF NOT EXISTS errors UInt64 DEFAULT
        if(outcome NOT IN ('complete', 'client_closed') OR outcome = 'complete' AND (status >= 400 OR error_type != ''), requests, 0)
        CODEC(T64, ZSTD(1)) AFTER requests,
    ADD COLUMN IF NOT EXISTS hits UInt64 DEFAULT if(cache = 'HIT', requests, 0) CODEC(T64, ZSTD(1)) AFTER errors,
    ADD COLUMN IF NOT EXISTS estimated UInt64
        DEFAULT if(priced AND usage_source = 'estimated' AND cache != 'HIT', requests, 0) CODEC(T64, ZSTD(1)) AFTER hits;
