"""Gateway metrics: plain counters on the hot path, rendered only on a scrape."""

from collections import Counter
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.gateway.accounting_failures import Failures
from services.gateway.exchange import Exchange
from shared import events
from shared.histogram import Durations, histogram

# Who produced the response, and how it was delivered.
PROVIDER, GATEWAY, CACHE = "provider", "gateway", "cache"
STREAM, WHOLE, HIT = "stream", "whole", "hit"

# Upper bounds in seconds: from a hit in memory to a reasoning model's longest silence.
_FIRST_BYTE = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 60.0)
_REQUEST = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0)


class Metrics(Collector):
    """Counters by label values.

    `gauges` maps a name to (help, function), called on each scrape.
    """

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int, str, str]] = Counter()  # provider, status, outcome, source
        self.first_byte: dict[tuple[str, ...], Durations] = {}  # provider, delivery
        self.durations: dict[tuple[str, ...], Durations] = {}  # the same
        self.refusals: Counter[str] = Counter()  # reason, refused before anyone was authenticated
        self.omitted: Counter[str] = Counter()  # code, refused after authentication and without a row
        self.failures = Failures()
        self.cache_outcomes: Counter[str] = Counter()
        self.active = 0
        self.draining = 0
        self.drained = 0
        self.secret_keys: Callable[[], tuple[str, ...]] = tuple  # ids, the sealing one first
        self.counters: dict[str, tuple[str, Callable[[], float]]] = {}
        self.gauges: dict[str, tuple[str, Callable[[], float]]] = {
            "metrion_gateway_active_requests": ("Requests being served", lambda: self.active),
            "metrion_gateway_draining": (
                "Responses being drained after their client disconnected",
                lambda: self.draining,
            ),
        }

    def count(self, exchange: Exchange) -> None:
        """Count a finished request and its duration, unless the gateway refused it."""
        provider = exchange.envelope.provider
        status = exchange.status
        if exchange.cache == events.HIT:
            source = CACHE
            delivery = HIT
        else:
            source = PROVIDER if exchange.upstream else GATEWAY
            delivery = STREAM if exchange.envelope.stream else WHOLE
        self.requests[provider, status, exchange.outcome, source] += 1
        if source == GATEWAY:
            return
        by = (provider, delivery)
        if (took := self.durations.get(by)) is None:
            took = self.durations[by] = Durations(_REQUEST)
            self.first_byte[by] = Durations(_FIRST_BYTE)
        took.add(exchange.finished_at - exchange.clock)
        if exchange.first_byte_at is not None and status < 400:
            self.first_byte[by].add(exchange.first_byte_at - exchange.clock)

    def registry(self) -> CollectorRegistry:
        """A registry that holds these metrics."""
        registry = CollectorRegistry()
        registry.register(self)
        return registry

    def collect(self) -> Iterator[Metric]:
        """The metrics as they stand now."""
        yield from self._requests()
        refusals = CounterMetricFamily(
            "metrion_gateway_refusals",
            "Requests and connections refused before authentication, which get no row",
            labels=("kind",),
        )
        for code, count in self.refusals.items():
            refusals.add_metric((code,), count)
        yield refusals
        omitted = CounterMetricFamily(
            "metrion_gateway_refusals_without_row",
            "Refused requests of known tokens beyond METRION_REFUSAL_ROWS per minute, which get no row",
            labels=("kind",),
        )
        for code, count in self.omitted.items():
            omitted.add_metric((code,), count)
        yield omitted
        failures = CounterMetricFamily(
            "metrion_gateway_accounting_failures",
            "Internal errors while accounting for a response; the response was delivered, its row may lack usage",
            labels=("stage",),
        )
        for stage, count in self.failures.by_stage.items():
            failures.add_metric((stage,), count)
        yield failures
        lookups = CounterMetricFamily("metrion_gateway_cache_lookups", "Cache lookups by outcome", labels=("outcome",))
        for outcome, count in self.cache_outcomes.items():
            lookups.add_metric((outcome,), count)
        yield lookups
        known = GaugeMetricFamily(
            "metrion_gateway_secret_key",
            "Secret keys in use by id: 1 for the first one, which encrypts, 0 for the others",
            labels=("id",),
        )
        for place, key in enumerate(self.secret_keys()):
            known.add_metric((key,), float(place == 0))
        yield known
        yield CounterMetricFamily(
            "metrion_gateway_drained", "Responses drained after their client disconnected", value=self.drained
        )
        for name, (text, value) in self.counters.items():
            yield CounterMetricFamily(name, text, value=value())
        for name, (text, value) in self.gauges.items():
            yield GaugeMetricFamily(name, text, value=value())

    def _requests(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "metrion_gateway_requests",
            "Requests recorded as rows; source: who produced the response (provider, gateway or cache)",
            labels=("provider", "status", "outcome", "source"),
        )
        for (provider, status, outcome, source), count in self.requests.items():
            requests.add_metric((provider, str(status), outcome, source), count)
        yield requests
        by = ("provider", "kind")
        yield histogram(
            "metrion_gateway_request_seconds",
            "Time from a request's arrival to its end, without the gateway's refusals; kind: stream, whole, hit",
            labels=by,
            by=self.durations,
        )
        yield histogram(
            "metrion_gateway_first_byte_seconds",
            "Time from a request's arrival to the first byte of a response with a status below 400",
            labels=by,
            by=self.first_byte,
        )
