"""Cost, token and freshness metrics of stored rows.

A redelivered event is counted again here, but is still one row in ClickHouse.
"""

from collections import Counter as Sums
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from prometheus_client import CollectorRegistry, Counter, Histogram

from services.logger.rows import ResponseRow, Row
from shared import providers

_FRESH = (0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0)  # seconds
TOKENS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")


class CostMetrics:
    """Sums by provider, a label with few values: the configuration names them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        by = ["provider"]
        self._responses = Counter("metrion_logger_responses", "Rows of finished requests", by, registry=registry)
        self._unpriced = Counter(
            "metrion_logger_unpriced_responses", "Rows of finished requests of unknown cost", by, registry=registry
        )
        self._cost = Counter("metrion_logger_cost_usd", "Known cost of the rows stored", by, registry=registry)
        self._saved = Counter("metrion_logger_saved_usd", "Cost saved by the cache", by, registry=registry)
        self._tokens = Counter(
            "metrion_logger_tokens",
            "Tokens used; cache_read and cache_write are part of input, reasoning is part of output",
            [*by, "kind"],
            registry=registry,
        )
        self._fresh = Histogram(
            "metrion_logger_freshness_seconds",
            "Time from the end of a response, by the gateway's clock, until its row is stored",
            buckets=_FRESH,
            registry=registry,
        )
        for provider in providers.BUILT_IN:  # start at 0, so that rate() sees the first one
            for counter in (self._responses, self._unpriced, self._cost, self._saved):
                counter.labels(provider=provider)

    def add(self, batch: Iterable[Row]) -> None:
        """Count rows; amounts are floats here, which is good enough for a metric."""
        now = datetime.now(UTC)
        responses: Sums[str] = Sums()
        unpriced: Sums[str] = Sums()
        tokens: Sums[tuple[str, str]] = Sums()
        cost = dict[str, float]()
        saved = dict[str, float]()
        for row in batch:
            if not isinstance(row, ResponseRow):
                continue
            provider = row.provider
            responses[provider] += 1
            if row.cost is None:
                unpriced[provider] += 1
            else:
                cost[provider] = cost.get(provider, 0.0) + float(row.cost)
            if row.cost_saved:
                saved[provider] = saved.get(provider, 0.0) + float(row.cost_saved)
            for name in TOKENS:
                count = getattr(row, name)
                if count:
                    tokens[provider, name] += count
            finished_at = row.started_at + timedelta(milliseconds=row.latency_ms)
            self._fresh.observe(max((now - finished_at).total_seconds(), 0.0))
        self._raise(self._responses, responses)
        self._raise(self._unpriced, unpriced)
        self._raise(self._cost, cost)
        self._raise(self._saved, saved)
        for (provider, name), count in tokens.items():
            self._tokens.labels(provider=provider, kind=name.removesuffix("_tokens")).inc(count)

    @staticmethod
    def _raise(counter: Counter, sums: Mapping[str, float]) -> None:
        for provider, value in sums.items():
            counter.labels(provider=provider).inc(value)
