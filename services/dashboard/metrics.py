"""Dashboard metrics: HTTP requests, queries and sign-ins."""

import time
from collections.abc import Awaitable, Callable

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Histogram

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

# Outcomes of a sign-in attempt, and reasons for a failed query.
OK = "ok"
WRONG = "wrong"
THROTTLED = "throttled"
UNAVAILABLE = "unavailable"
TOO_SLOW = "too_slow"
NO_TABLES = "no_tables"
UNREACHABLE = "unreachable"
REFUSED = "refused"


class Metrics:
    """Counters of one `run`, on a new registry if none is given."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        registry = registry or CollectorRegistry()
        self.requests = Counter(
            "metrion_dashboard_requests", "HTTP requests by route and status", ["route", "status"], registry=registry
        )
        self.seconds = Histogram(
            "metrion_dashboard_request_seconds", "Duration of an HTTP request", buckets=_SECONDS, registry=registry
        )
        self.queries = Histogram(
            "metrion_dashboard_query_seconds",
            "Duration of a panel's ClickHouse query, failed ones included",
            ["query"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.failures = Counter(
            "metrion_dashboard_query_failures",
            "Panel queries that failed; the panel shows the reason",
            ["reason"],
            registry=registry,
        )
        self.sign_ins = Counter("metrion_dashboard_sign_ins", "Sign-in attempts", ["outcome"], registry=registry)
        for reason in (TOO_SLOW, NO_TABLES, UNREACHABLE, REFUSED):
            self.failures.labels(reason=reason)  # start at 0, so that rate() sees the first one
        for outcome in (OK, WRONG, THROTTLED, UNAVAILABLE):
            self.sign_ins.labels(outcome=outcome)


METRICS = web.AppKey("metrics", Metrics)


@web.middleware
async def count_requests(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Count a request by its matched route, so that no client input becomes a label."""
    metrics = request.app[METRICS]
    started = time.perf_counter()
    status = 500
    resource = request.match_info.route.resource
    route = resource.canonical if resource is not None else "other"
    try:
        response = await handler(request)
        status = response.status
        return response
    except web.HTTPException as error:
        status = error.status
        raise
    finally:
        metrics.requests.labels(route=route, status=str(status)).inc()
        metrics.seconds.observe(time.perf_counter() - started)
