"""A service's registry goes in; what every process shows of itself is added: build, readiness, CPU, memory."""

import platform
from collections.abc import Callable, Iterator

import prometheus_client
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from shared.version import VERSION


class _Process(Collector):
    def __init__(self, service: str, ready: Callable[[], str]) -> None:
        self._service, self._ready = service, ready

    def collect(self) -> Iterator[Metric]:
        build = GaugeMetricFamily(
            "metrion_build_info", "1; the labels say what runs", labels=("service", "version", "python")
        )
        build.add_metric((self._service, VERSION, platform.python_version()), 1.0)
        yield build
        readiness = GaugeMetricFamily("metrion_ready", "1 while /readyz answers 200", labels=("service",))
        readiness.add_metric((self._service,), 0.0 if self._ready() else 1.0)
        yield readiness


def process(registry: prometheus_client.CollectorRegistry, *, service: str, ready: Callable[[], str]) -> None:
    """Add it. `ready` returns "" or why not. Process metrics of the operating system come where /proc is (Linux)."""
    # A time of creation beside each counter would double what is scraped.
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
    registry.register(_Process(service, ready))
    prometheus_client.ProcessCollector(registry=registry)
