"""Grafana operations dashboard, from a client's request to its row in ClickHouse."""

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
            meaning="Scraped services whose /readyz returns 200.",
            kind=STAT,
            queries={"{{service}}": "sum by (service) (metrion_ready)"},
            width=8,
            height=4,
        ),
        Panel(
            title="Requests in flight",
            meaning="Open requests of all gateways, including drained ones.",
            kind=STAT,
            queries={"requests": "sum(metrion_gateway_active_requests)"},
            width=4,
            height=4,
        ),
        Panel(
            title="Cost per hour",
            meaning="Recorded cost at the current rate, without unknown costs. Redelivered events count twice.",
            kind=STAT,
            unit=DOLLARS,
            queries={"dollars": f"3600 * sum(rate(metrion_logger_cost_usd_total{{{_OF}}}[10m]))"},
            width=4,
            height=4,
        ),
        Panel(
            title="Recording delay",
            meaning="Age of the oldest event not yet in ClickHouse: in a gateway's outbox or in the stream.",
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
            title="Requests per second by provider",
            meaning="Recorded requests, by who produced the response: provider, cache or gateway (refusals).",
            kind=STACKED,
            unit=PER_SECOND,
            queries={
                "{{provider}} {{source}}": "sum by (provider, source) "
                f"(rate(metrion_gateway_requests_total{{{_OF}}}{_BY}))"
            },
        ),
        Panel(
            title="Provider error rate",
            meaning="Share of 5xx, 429, truncated and timed-out responses, as in the alerts; without other 4xx.",
            unit=SHARE,
            queries={"{{provider}}": f"provider:metrion_gateway_errors:ratio5m{{{_OF}}}"},
        ),
        Panel(
            title="Error responses by status",
            meaning="All responses with a status of 400 or higher, from provider or gateway.",
            kind=STACKED,
            unit=PER_SECOND,
            queries={
                "{{provider}} {{status}} {{source}}": "sum by (provider, status, source) "
                f'(rate(metrion_gateway_requests_total{{{_OF},status=~"4..|5.."}}{_BY}))'
            },
        ),
        Panel(
            title="Incomplete requests by outcome",
            meaning="Disconnected clients, truncated responses, timeouts.",
            kind=STACKED,
            unit=PER_SECOND,
            queries={
                "{{outcome}}": "sum by (outcome) "
                f'(rate(metrion_gateway_requests_total{{{_OF},outcome!="complete"}}{_BY}))'
            },
        ),
        Panel(
            title="Time to first byte of streams",
            meaning="From a request's arrival to the first byte, provider responses with a status below 400.",
            unit=SECONDS,
            queries={
                f"{{{{provider}}}} p{round(share * 100)}": _quantile(
                    share, "metrion_gateway_first_byte_seconds", "provider, ", f'{_OF},kind="stream"'
                )
                for share in (0.5, 0.95)
            },
        ),
        Panel(
            title="Request duration, p95",
            meaning="From arrival to end, by kind: streams, other responses, cache hits.",
            unit=SECONDS,
            queries={
                "{{provider}} {{kind}}": _quantile(0.95, "metrion_gateway_request_seconds", "provider, kind, ", _OF)
            },
        ),
        Panel(
            title="Output tokens per second",
            meaning="As recorded: reported by providers, or estimated.",
            kind=STACKED,
            queries={
                "{{provider}}": f'sum by (provider) (rate(metrion_logger_tokens_total{{{_OF},kind="output"}}{_BY}))'
            },
        ),
        Panel(
            title="Refused before authentication, by kind",
            meaning="Invalid tokens, unknown paths. These requests get no row and are visible only here.",
            kind=STACKED,
            unit=PER_SECOND,
            queries={"{{kind}}": f"sum by (kind) (rate(metrion_gateway_refusals_total{_BY}))"},
        ),
    ),
)

EVENTS = Row(
    "Event pipeline",
    (
        Panel(
            title="Outboxes",
            meaning="Events on gateways' disks that NATS has not stored yet; small fluctuations near 0 are normal.",
            unit=BYTES,
            queries={"{{instance}}": "metrion_gateway_outbox_bytes"},
        ),
        Panel(
            title="Age of the oldest event in an outbox",
            meaning="How far the shipper is behind.",
            unit=SECONDS,
            queries={"{{instance}}": "metrion_gateway_outbox_age_seconds"},
        ),
        Panel(
            title="Fill level of outboxes and stream",
            meaning="At 1 an outbox drops events, or the gateway refuses requests (METRION_SPOOL_FULL=refuse).",
            unit=SHARE,
            queries={
                "outbox, {{instance}}": "metrion_gateway_outbox_disk_bytes / metrion_gateway_outbox_max_bytes",
                "stream": "max(metrion_logger_stream_bytes / (metrion_logger_stream_max_bytes > 0))",
            },
        ),
        Panel(
            title="Dropped events, dead letters, interrupted requests",
            meaning="Each should be 0. Interrupted: requests whose gateway stopped before they finished.",
            queries={
                "dropped, {{instance}}": f"increase(metrion_gateway_events_dropped_total{_BY})",
                "dead letters": "max(metrion_logger_dead_letters_waiting)",
                "interrupted": f"sum(increase(metrion_logger_interrupted_total{_BY}))",
            },
        ),
        Panel(
            title="Consumer lag",
            meaning="Messages not yet delivered, and delivered but not yet acknowledged.",
            queries={
                "waiting": "max(metrion_logger_pending_messages) - max(metrion_logger_in_hand_messages)",
                "unacknowledged": "max(metrion_logger_in_hand_messages)",
            },
        ),
        Panel(
            title="Inserts into ClickHouse",
            meaning="Duration of inserts of up to METRION_BATCH_EVENTS rows.",
            unit=SECONDS,
            queries={
                f"p{round(share * 100)}": _quantile(share, "metrion_logger_insert_seconds", "") for share in (0.5, 0.95)
            },
        ),
        Panel(
            title="Delay from response to row",
            meaning="Time from the end of a response until its row is stored, by the clocks of gateway and logger.",
            unit=SECONDS,
            queries={
                f"p{round(share * 100)}": _quantile(share, "metrion_logger_freshness_seconds", "")
                for share in (0.5, 0.95)
            },
        ),
        Panel(
            title="Rows per second, and failed inserts",
            meaning="Continuous failures mean that ClickHouse is down: nothing is lost, the lag grows.",
            queries={
                "rows, {{instance}}": f"rate(metrion_logger_rows_total{_BY})",
                "failures, {{instance}}": f"rate(metrion_logger_insert_failures_total{_BY})",
            },
        ),
    ),
)

MONEY = Row(
    "Cost",
    (
        Panel(
            title="Cost per hour by provider",
            meaning="The cost dashboard shows cost by requester and model, which are not labels here.",
            kind=STACKED,
            unit=DOLLARS,
            queries={
                "{{provider}}": f"3600 * sum by (provider) (rate(metrion_logger_cost_usd_total{{{_OF}}}{_BY}))",
            },
        ),
        Panel(
            title="Share of requests of unknown cost",
            meaning="Not included in the cost above.",
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
            meaning="Requests served by the cache, as a share of those that asked for caching.",
            unit=SHARE,
            queries={"hits": "metrion:gateway_cache_hits:ratio5m"},
            width=8,
        ),
        Panel(
            title="Lookups by outcome",
            meaning="As counted by the cache replicas: memory and stream are hits.",
            kind=STACKED,
            unit=PER_SECOND,
            queries={"{{outcome}}": f"sum by (outcome) (rate(metrion_cache_lookup_seconds_count{_BY}))"},
            width=8,
        ),
        Panel(
            title="Duration of a lookup, p99",
            meaning="A gateway waits at most METRION_CACHE_TIMEOUT (0.25 s), then it is a miss.",
            unit=SECONDS,
            queries={"{{outcome}}": _quantile(0.99, "metrion_cache_lookup_seconds", "outcome, ")},
            width=8,
        ),
        Panel(
            title="Cache refusals by reason",
            meaning="overloaded, timeout and failed are failures; unkeepable is not.",
            kind=STACKED,
            unit=PER_SECOND,
            queries={"{{request}} {{reason}}": f"sum by (request, reason) (rate(metrion_cache_refusals_total{_BY}))"},
            width=8,
        ),
        Panel(
            title="Dashboard queries, p95",
            meaning="Duration of panels' ClickHouse queries, limited by METRION_DASHBOARD_QUERY_SECONDS.",
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
            meaning="Cores used. A gateway uses at most one core: near 1, add gateways.",
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
