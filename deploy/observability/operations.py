"""The dashboard of operations: what Prometheus knows, from a client's request to its row in the books."""

from deploy.observability.panel import BYTES, COUNT, DOLLARS, PER_SECOND, SECONDS, SHARE, STACKED, STAT, Panel, Row

_BY = "[$__rate_interval]"
_OF = 'provider=~"$provider"'


def _quantile(share: float, metric: str, by: str, only: str = "") -> str:
    return f"histogram_quantile({share}, sum by ({by}le) (rate({metric}_bucket{{{only}}}{_BY})))"


NOW = Row(
    "Now",
    (
        Panel(
            title="Ready",
            meaning="Services whose /readyz answers 200, of those that are scraped.",
            kind=STAT,
            queries={"{{service}}": "sum by (service) (metrion_ready)"},
            width=8,
            height=4,
        ),
        Panel(
            title="Requests being served",
            meaning="Open requests of all gateways, drained ones included.",
            kind=STAT,
            queries={"requests": "sum(metrion_gateway_active_requests)"},
            width=4,
            height=4,
        ),
        Panel(
            title="Cost an hour",
            meaning="What is booked at the present pace. Unknown costs are not in it; repeats after a lost ack are.",
            kind=STAT,
            unit=DOLLARS,
            queries={"dollars": f"3600 * sum(rate(metrion_logger_cost_usd_total{{{_OF}}}[10m]))"},
            width=4,
            height=4,
        ),
        Panel(
            title="Books behind by",
            meaning="Age of the oldest event that is not in ClickHouse: in a gateway's outbox, or in the stream.",
            kind=STAT,
            unit=SECONDS,
            queries={
                "outbox": "max(metrion_gateway_outbox_age_seconds)",
                "stream": "max(metrion_logger_oldest_message_seconds)",
            },
            width=8,
            height=4,
        ),
    ),
)

REQUESTS = Row(
    "Requests",
    (
        Panel(
            title="Requests a second by provider",
            meaning="Booked requests, answered by the provider, by the cache, or refused by the gateway.",
            kind=STACKED,
            unit=PER_SECOND,
            queries={
                "{{provider}} {{source}}": "sum by (provider, source) "
                f"(rate(metrion_gateway_requests_total{{{_OF}}}{_BY}))"
            },
        ),
        Panel(
            title="Failures of providers",
            meaning="Share of 5xx, 429, broken and silent answers, as alerts count it; a client's own 4xx are none.",
            unit=SHARE,
            queries={"{{provider}}": f"provider:metrion_gateway_errors:ratio5m{{{_OF}}}"},
        ),
        Panel(
            title="Answers that are no success, by status",
            meaning="Everything from 400 on, whoever said it.",
            kind=STACKED,
            unit=PER_SECOND,
            queries={
                "{{provider}} {{status}} {{source}}": "sum by (provider, status, source) "
                f'(rate(metrion_gateway_requests_total{{{_OF},status=~"4..|5.."}}{_BY}))'
            },
        ),
        Panel(
            title="How requests end",
            meaning="complete aside: clients that left, answers that broke off, timeouts.",
            kind=STACKED,
            unit=PER_SECOND,
            queries={
                "{{outcome}}": "sum by (outcome) "
                f'(rate(metrion_gateway_requests_total{{{_OF},outcome!="complete"}}{_BY}))'
            },
        ),
        Panel(
            title="First byte of streams",
            meaning="From a request's arrival to the first byte, answers below 400 from the provider.",
            unit=SECONDS,
            queries={
                f"{{{{provider}}}} p{round(share * 100)}": _quantile(
                    share, "metrion_gateway_first_byte_seconds", "provider, ", f'{_OF},kind="stream"'
                )
                for share in (0.5, 0.95)
            },
        ),
        Panel(
            title="Duration of requests, p95",
            meaning="From arrival to the end, by kind: streams, whole answers, hits of the cache.",
            unit=SECONDS,
            queries={
                "{{provider}} {{kind}}": _quantile(0.95, "metrion_gateway_request_seconds", "provider, kind, ", _OF)
            },
        ),
        Panel(
            title="Output tokens a second",
            meaning="As booked: what providers said, or what was estimated.",
            kind=STACKED,
            queries={
                "{{provider}}": f'sum by (provider) (rate(metrion_logger_tokens_total{{{_OF},kind="output"}}{_BY}))'
            },
        ),
        Panel(
            title="Refused before authentication, by kind",
            meaning="Wrong tokens, unknown paths: no rows, so only here.",
            kind=STACKED,
            unit=PER_SECOND,
            queries={"{{kind}}": f"sum by (kind) (rate(metrion_gateway_refusals_total{_BY}))"},
        ),
    ),
)

EVENTS = Row(
    "From gateways to the books",
    (
        Panel(
            title="Outboxes",
            meaning="Events on gateways' disks that NATS has not stored; a line near 0 that twitches is well.",
            unit=BYTES,
            queries={"{{instance}}": "metrion_gateway_outbox_bytes"},
        ),
        Panel(
            title="Age of the oldest event in an outbox",
            meaning="Seconds that the shipper is behind.",
            unit=SECONDS,
            queries={"{{instance}}": "metrion_gateway_outbox_age_seconds"},
        ),
        Panel(
            title="How full outboxes and stream are",
            meaning="An outbox at 1 drops events, or requests are refused where METRION_SPOOL_FULL says so.",
            unit=SHARE,
            queries={
                "outbox, {{instance}}": "metrion_gateway_outbox_disk_bytes / metrion_gateway_outbox_max_bytes",
                "stream": "max(metrion_logger_stream_bytes / (metrion_logger_stream_max_bytes > 0))",
            },
        ),
        Panel(
            title="Lost, set aside, interrupted",
            meaning="Each should be 0: events dropped, dead letters that wait, requests whose gateway died.",
            queries={
                "dropped, {{instance}}": f"increase(metrion_gateway_events_dropped_total{_BY})",
                "dead letters": "max(metrion_logger_dead_letters_waiting)",
                "interrupted": f"sum(increase(metrion_logger_interrupted_total{_BY}))",
            },
        ),
        Panel(
            title="Messages that wait for the loggers",
            meaning="Consumer lag: not yet delivered, and in some logger's hand.",
            queries={
                "waiting": "max(metrion_logger_pending_messages) - max(metrion_logger_in_hand_messages)",
                "in hand": "max(metrion_logger_in_hand_messages)",
            },
        ),
        Panel(
            title="Inserts into ClickHouse",
            meaning="Duration of an insert of up to METRION_BATCH_EVENTS rows.",
            unit=SECONDS,
            queries={
                f"p{round(share * 100)}": _quantile(share, "metrion_logger_insert_seconds", "") for share in (0.5, 0.95)
            },
        ),
        Panel(
            title="From an answer's end to its row",
            meaning="Freshness of the books, by the clocks of gateway and logger.",
            unit=SECONDS,
            queries={
                f"p{round(share * 100)}": _quantile(share, "metrion_logger_freshness_seconds", "")
                for share in (0.5, 0.95)
            },
        ),
        Panel(
            title="Rows a second, and inserts tried again",
            meaning="Failures that go on mean that ClickHouse is away: nothing is lost, the lag grows.",
            queries={
                "rows, {{instance}}": f"rate(metrion_logger_rows_total{_BY})",
                "failures, {{instance}}": f"rate(metrion_logger_insert_failures_total{_BY})",
            },
        ),
    ),
)

MONEY = Row(
    "Money, as it is booked",
    (
        Panel(
            title="Cost an hour by provider",
            meaning="For who spent it, and on what, see the dashboard of cost: names are no labels here.",
            kind=STACKED,
            unit=DOLLARS,
            queries={
                "{{provider}}": f"3600 * sum by (provider) (rate(metrion_logger_cost_usd_total{{{_OF}}}{_BY}))",
            },
        ),
        Panel(
            title="Share of requests of unknown cost",
            meaning="What the sums above lack.",
            unit=SHARE,
            queries={
                "{{provider}}": f"sum by (provider) (increase(metrion_logger_unpriced_responses_total{{{_OF}}}[1h])) / "
                f"(sum by (provider) (increase(metrion_logger_responses_total{{{_OF}}}[1h])) > 0)",
            },
        ),
    ),
)

ASIDE = Row(
    "Cache and dashboard",
    (
        Panel(
            title="Hit ratio",
            meaning="Requests answered by the cache, of those for which it was asked.",
            unit=SHARE,
            queries={"hits": "metrion:gateway_cache_hits:ratio5m"},
            width=8,
        ),
        Panel(
            title="Lookups by what became of them",
            meaning="As the caches count them: memory and stream are hits.",
            kind=STACKED,
            unit=PER_SECOND,
            queries={"{{outcome}}": f"sum by (outcome) (rate(metrion_cache_lookup_seconds_count{_BY}))"},
            width=8,
        ),
        Panel(
            title="Duration of a lookup, p99",
            meaning="A gateway waits METRION_CACHE_TIMEOUT (0.25 s) at most, then it is a miss.",
            unit=SECONDS,
            queries={"{{outcome}}": _quantile(0.99, "metrion_cache_lookup_seconds", "outcome, ")},
            width=8,
        ),
        Panel(
            title="What the cache did not do, by reason",
            meaning="unkeepable is no failure; overloaded, timeout and failed are.",
            kind=STACKED,
            unit=PER_SECOND,
            queries={"{{request}} {{reason}}": f"sum by (request, reason) (rate(metrion_cache_refusals_total{_BY}))"},
            width=8,
        ),
        Panel(
            title="Dashboard queries, p95",
            meaning="Duration of panels' ClickHouse queries; METRION_DASHBOARD_QUERY_SECONDS limits it.",
            unit=SECONDS,
            queries={"{{query}}": _quantile(0.95, "metrion_dashboard_query_seconds", "query, ")},
            width=8,
        ),
        Panel(
            title="Failed panels and sign-ins",
            meaning="Failures in each interval, by reason.",
            queries={
                "{{reason}}": f"sum by (reason) (increase(metrion_dashboard_query_failures_total{_BY}))",
                "sign-in {{outcome}}": "sum by (outcome) "
                f'(increase(metrion_dashboard_sign_ins_total{{outcome!="ok"}}{_BY}))',
            },
            width=8,
        ),
    ),
)

PROCESSES = Row(
    "Processes",
    (
        Panel(
            title="CPU",
            meaning="Cores used. A gateway is one core wide: near 1 it needs company.",
            queries={
                "{{job}} {{instance}}": f"rate(process_cpu_seconds_total{_BY}) and on (job, instance) metrion_ready"
            },
            unit=COUNT,
        ),
        Panel(
            title="Memory",
            meaning="Resident memory.",
            unit=BYTES,
            queries={"{{job}} {{instance}}": "process_resident_memory_bytes and on (job, instance) metrion_ready"},
        ),
    ),
)

ROWS = (NOW, REQUESTS, EVENTS, MONEY, ASIDE, PROCESSES)
