"""Cache metrics: plain counters, rendered only on a scrape."""

from collections import Counter
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from shared.histogram import Durations, histogram

# Outcomes of a lookup.
MEMORY = "memory"
STREAM = "stream"
MISS = "miss"
LEASED = "leased"
HELD = "held"
HITS = (MEMORY, STREAM)

_BUCKETS = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25)  # seconds


class Metrics(Collector):
    """Counters of one `run`.

    `gauges` and `counters` map a name to (help, function), called on each scrape.
    """

    def __init__(self) -> None:
        self.lookups = {outcome: Durations(_BUCKETS) for outcome in (MEMORY, STREAM, MISS, LEASED, HELD)}
        self.refusals: Counter[tuple[str, str]] = Counter()  # (request, reason)
        self.stores = 0
        self.renewed = 0
        self.released = 0
        self.counters: dict[str, tuple[str, Callable[[], float]]] = {
            "metrion_cache_stores": ("Responses stored", lambda: self.stores),
            "metrion_cache_leases_renewed": ("Leases renewed", lambda: self.renewed),
            "metrion_cache_leases_released": ("Leases released without storing a response", lambda: self.released),
        }
        self.gauges: dict[str, tuple[str, Callable[[], float]]] = {}

    def looked_up(self, outcome: str, seconds: float) -> None:
        """Count a finished lookup."""
        self.lookups[outcome].add(seconds)

    def count(self, *outcomes: str) -> int:
        """Number of lookups with one of these outcomes."""
        return sum(sum(self.lookups[outcome].counts) for outcome in outcomes)

    def registry(self) -> CollectorRegistry:
        """A registry that holds these metrics."""
        registry = CollectorRegistry()
        registry.register(self)
        return registry

    def collect(self) -> Iterator[Metric]:
        """The metrics as they stand now."""
        yield histogram(
            "metrion_cache_lookup_seconds",
            "Duration of a lookup; memory, stream: hits; miss, leased, held: misses (a lease granted or held)",
            labels=("outcome",),
            by={(outcome,): durations for outcome, durations in self.lookups.items()},
        )
        refusals = CounterMetricFamily(
            "metrion_cache_refusals",
            "Requests that the cache could not serve; such lookups are misses",
            labels=("request", "reason"),
        )
        for labels, count in self.refusals.items():
            refusals.add_metric(labels, count)
        yield refusals
        for name, (text, value) in self.counters.items():
            yield CounterMetricFamily(name, text, value=value())
        for name, (text, value) in self.gauges.items():
            yield GaugeMetricFamily(name, text, value=value())
