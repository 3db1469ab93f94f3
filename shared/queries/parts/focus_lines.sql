-- What requests of a period used, a row per request and token class: `line` is (class, meter, unit, quantity, cost, price of a unit).
-- Without cache hits, which used nothing. Quantities are disjoint. `other` is the part of the cost that belongs to no class.
-- A request of unknown cost without any quantity counts as one request, so that it is not lost.
SELECT day, account, requester, provider, model, tier, tags, is_priced, is_subscription, estimated, reason, arrayJoin(lines) AS line
FROM
(
    SELECT
        day, account, requester, provider, model, tier, tags, is_priced, is_subscription, estimated, reason,
        arrayFilter(
            line -> line.4 > 0,
            [
                ('input', 'Input tokens', 'Tokens', toDecimal128(text, 3), by_class['input'], nullIf(prices['input_mtok'], 0)),
                ('input_audio', 'Audio input tokens', 'Tokens', toDecimal128(audio_left, 3), by_class['input_audio'],
                    coalesce(nullIf(prices['input_audio_mtok'], 0), nullIf(prices['input_mtok'], 0))),
                ('input_image', 'Image input tokens', 'Tokens', toDecimal128(image_left, 3), by_class['input_image'],
                    coalesce(nullIf(prices['input_image_mtok'], 0), nullIf(prices['input_mtok'], 0))),
                ('input_video', 'Video input tokens', 'Tokens', toDecimal128(video_left, 3), by_class['input_video'],
                    coalesce(nullIf(prices['input_video_mtok'], 0), nullIf(prices['input_mtok'], 0))),
                ('cache_read', 'Cached input tokens', 'Tokens', toDecimal128(read, 3), by_class['cache_read'],
                    coalesce(nullIf(prices['cache_read_mtok'], 0), nullIf(prices['input_mtok'], 0))),
                ('cache_write', 'Cache write tokens', 'Tokens', toDecimal128(written - written_1h, 3), by_class['cache_write'] - cost_1h,
                    nullIf(prices['cache_write_mtok'], 0)),
                ('cache_write_1h', 'Cache write tokens, 1 hour', 'Tokens', toDecimal128(written_1h, 3), cost_1h,
                    nullIf(prices['cache_write_1h_mtok'], 0)),
                ('output', 'Output tokens', 'Tokens', toDecimal128(greatest(output - out_audio - out_image - out_video, 0), 3),
                    by_class['output'], nullIf(prices['output_mtok'], 0)),
                ('output_audio', 'Audio output tokens', 'Tokens', toDecimal128(out_audio, 3), by_class['output_audio'],
                    coalesce(nullIf(prices['output_audio_mtok'], 0), nullIf(prices['output_mtok'], 0))),
                ('output_image', 'Image output tokens', 'Tokens', toDecimal128(out_image, 3), by_class['output_image'],
                    coalesce(nullIf(prices['output_image_mtok'], 0), nullIf(prices['output_mtok'], 0))),
                ('output_video', 'Video output tokens', 'Tokens', toDecimal128(out_video, 3), by_class['output_video'],
                    nullIf(prices['output_video_mtok'], 0)),
                ('audio', 'Seconds of audio', 'Seconds', toDecimal128(seconds, 3), by_class['audio'], NULL),
                ('pages', 'Pages', 'Pages', toDecimal128(pages, 3), by_class['pages'], NULL),
                ('characters', 'Characters', 'Characters', toDecimal128(characters, 3), by_class['characters'], NULL),
                ('tools', 'Tool calls', 'Calls', toDecimal128(calls, 3), by_class['tools'], NULL)
            ]
        ) AS known,
        whole - arraySum(line -> line.5, known) AS left_over,
        arrayConcat(
            known,
            if(left_over != 0, [('other', 'Other charges', 'Requests', toDecimal128(1, 3), left_over, NULL)], []),
            if(NOT is_priced AND empty(known), [('unknown', 'Requests of unknown use', 'Requests', toDecimal128(1, 3), toDecimal128(0, 12), NULL)], [])
        ) AS lines
    FROM
    (
        SELECT
            *,
            -- Cached tokens of unknown modality were text as far as there was text, then images, audio, video.
            input - read - written - greatest(in_image - read_image, 0) - greatest(in_audio - read_audio, 0) - greatest(in_video - read_video, 0)
                AS rest,
            greatest(rest, 0) AS text,
            greatest(-rest, 0) AS short,
            greatest(in_image - read_image, 0) AS image,
            greatest(in_audio - read_audio, 0) AS audio,
            greatest(in_video - read_video, 0) AS video,
            greatest(image - short, 0) AS image_left,
            greatest(audio - greatest(short - image, 0), 0) AS audio_left,
            greatest(video - greatest(short - image - audio, 0), 0) AS video_left,
            toDecimal128(prices['cache_write_1h_mtok'] * written_1h, 12) AS cost_1h_priced,
            if(by_class['cache_write'] > 0, cost_1h_priced, toDecimal128(0, 12)) AS cost_1h
        FROM
        (
            SELECT
                toDate(toTimeZone(started_at, {tz:String})) AS day,
                account, requester,
                toString(r.provider) AS provider,
                if(model_name = '', 'unknown', toString(model_name)) AS model,
                if(endpoint LIKE 'BATCH %', 'batch', toString(service_tier)) AS tier,
                toJSONString(mapSort(mapFilter((name, value) -> has({tags:Array(String)}, name), metadata))) AS tags,
                isNotNull(r.cost) AS is_priced,
                billing = 'subscription' AS is_subscription,
                is_estimated AS estimated,
                if(is_priced, '', if(cost_reason = '', 'unknown', toString(cost_reason))) AS reason,
                ifNull(r.cost, toDecimal128(0, 12)) AS whole,
                if(is_priced AND whole != 0, cost_by_class, mapFilter((name, amount) -> 0, cost_by_class)) AS by_class,
                mapApply((unit, amount) -> (unit, toDecimal128(amount, 18) / 1000000), unit_prices) AS prices,
                toInt64(ifNull(r.input_tokens, 0)) AS input,
                toInt64(ifNull(r.output_tokens, 0)) AS output,
                toInt64(cache_read_tokens) AS read,
                toInt64(cache_write_tokens) AS written,
                toInt64(cache_write_1h_tokens) AS written_1h,
                JSONExtract(
                    usage,
                    'Tuple(input_image Int64, input_audio Int64, input_video Int64, cache_read_image Int64, cache_read_audio Int64,
                        cache_read_video Int64, output_image Int64, output_audio Int64, output_video Int64, audio_seconds String,
                        pages Int64, characters Int64, tools Map(String, Int64))'
                ) AS stated,  -- parsed once
                stated.1 AS in_image,
                stated.2 AS in_audio,
                stated.3 AS in_video,
                stated.4 AS read_image,
                stated.5 AS read_audio,
                stated.6 AS read_video,
                stated.7 AS out_image,
                stated.8 AS out_audio,
                stated.9 AS out_video,
                toDecimal128OrZero(stated.10, 3) AS seconds,
                stated.11 AS pages,
                stated.12 AS characters,
                arraySum(mapValues(stated.13)) AS calls
            FROM metrion.response_events AS r FINAL
            WHERE started_at >= {since:DateTime64(6, 'UTC')} AND started_at < {until:DateTime64(6, 'UTC')}
              AND ({account:String} = '' OR account = {account:String}) AND NOT is_cache_hit
        )
    )
)
