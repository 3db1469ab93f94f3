"""Metrics of every process: build, readiness, CPU and memory."""

import platform
from collections.abc import Callable, Iterator

import prometheus_client
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from shared.version import VERSION


class _Process(Collector):
    def __init__(self, service: str, ready: Callable[[], str]) -> None:
        self._service = service
        self._ready = ready

    def collect(self) -> Iterator[Metric]:
        build = GaugeMetricFamily(
            "metrion_build_info",
            "Always 1; the labels name the running version",
            labels=("service", "version", "python"),
        )
        build.add_metric((self._service, VERSION, platform.python_version()), 1.0)
        yield build
        readiness = GaugeMetricFamily("metrion_ready", "1 while /readyz returns 200", labels=("service",))
        readiness.add_metric((self._service,), 0.0 if self._ready() else 1.0)
        yield readiness


def process(registry: prometheus_client.CollectorRegistry, *, service: str, ready: Callable[[], str]) -> None:
    """Add the metrics; `ready` returns "" or why not. Some need /proc (Linux)."""
    # The extra _created series per counter would double the size of a scrape.
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
    registry.register(_Process(service, ready))
    prometheus_client.ProcessCollector(registry=registry)
