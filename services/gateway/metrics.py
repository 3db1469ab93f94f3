"""What Prometheus can see of a gateway: plain counters on the hot path, turned into metrics only when scraped."""

from collections import Counter
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class Metrics(Collector):
    """Counters by label values. `gauges` maps a name to (help, function) and is asked at each scrape."""

    def __init__(self) -> None:
        self.answers: Counter[tuple[str, str]] = Counter()  # (provider, status)
        self.refusals: Counter[str] = Counter()  # kind, refused before anyone was authenticated
        self.cache_outcomes: Counter[str] = Counter()
        self.active = 0
        self.draining = 0
        self.drained = 0
        self.secret_keys: Callable[[], tuple[str, ...]] = tuple  # ids, the sealing one first
        self.counters: dict[str, tuple[str, Callable[[], float]]] = {}
        self.gauges: dict[str, tuple[str, Callable[[], float]]] = {
            "metrion_gateway_active_requests": ("Requests being served", lambda: self.active),
            "metrion_gateway_draining": ("Answers being drained for clients that left", lambda: self.draining),
        }

    def registry(self) -> CollectorRegistry:
        """A registry that holds these metrics."""
        registry = CollectorRegistry()
        registry.register(self)
        return registry

    def collect(self) -> Iterator[Metric]:
        """The metrics as they stand now."""
        answers = CounterMetricFamily("metrion_gateway_answers", "Booked requests", labels=("provider", "status"))
        for (provider, status), count in self.answers.items():
            answers.add_metric((provider, status), count)
        yield answers
        refusals = CounterMetricFamily(
            "metrion_gateway_refusals", "Requests refused before authentication", labels=("kind",)
        )
        for kind, count in self.refusals.items():
            refusals.add_metric((kind,), count)
        yield refusals
        lookups = CounterMetricFamily(
            "metrion_gateway_cache_lookups", "Questions to the cache by what became of them", labels=("outcome",)
        )
        for outcome, count in self.cache_outcomes.items():
            lookups.add_metric((outcome,), count)
        yield lookups
        known = GaugeMetricFamily(
            "metrion_gateway_secret_key", "Secret keys in use: 1 for the first, which seals", labels=("id",)
        )
        for place, key in enumerate(self.secret_keys()):
            known.add_metric((key,), float(place == 0))
        yield known
        yield CounterMetricFamily(
            "metrion_gateway_drained", "Answers drained for clients that left", value=self.drained
        )
        for name, (text, value) in self.counters.items():
            yield CounterMetricFamily(name, text, value=value())
        for name, (text, value) in self.gauges.items():
            yield GaugeMetricFamily(name, text, value=value())
