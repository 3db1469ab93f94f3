"""Writes OPERATIONS.md's tables of metrics: `python -m deploy.metrics_table`."""

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
from nats.aio.client import Client
from prometheus_client import CollectorRegistry

import services.cache.metrics
import services.dashboard.metrics
import services.gateway.metrics
import services.logger.metrics
from deploy import marked_section
from services.cache.lru import LRU
from services.cache.server import Server
from services.cache.service import observe as observe_cache
from services.cache.store import Store
from services.gateway import gauges
from services.gateway.accounts_mirror import Mirror
from services.gateway.cache.client import CacheClient
from services.gateway.limits.budgets import Budgets
from services.gateway.limits.limiter import Limiter
from services.gateway.outbox.outbox import Outbox
from services.gateway.outbox.shipper import Shipper
from services.gateway.request.body_budget import BodyBudget
from services.gateway.request.provider_keys import Keys
from services.gateway.telemetry_endpoint import TelemetryEndpoint
from services.gateway.usage.prompt_store import PromptStore
from services.gateway.websocket.connections import Connections
from shared import process_metrics
from shared.vault import Vault

OPERATIONS = Path(__file__).resolve().parent / "OPERATIONS.md"
BEGIN, END = "<!-- metrics: `make readme` writes from here -->", "<!-- metrics: to here -->"
_UNITS = {"seconds": "s", "bytes": "bytes", "usd": "US dollars", "tokens": "tokens", "messages": "messages"}


class Row(msgspec.Struct, frozen=True):
    """A metric as scraped, without a histogram's _bucket, _sum and _count."""

    name: str
    kind: str  # counter, gauge, histogram
    labels: tuple[str, ...]
    unit: str
    meaning: str


def registries() -> Iterator[tuple[str, CollectorRegistry]]:
    """Each service's registry as the service fills it, with unconnected parts."""
    with tempfile.TemporaryDirectory() as folder:
        yield "gateway", _gateway(Path(folder))
    yield "logger", _logger()
    yield "cache", _cache()
    yield "dashboard", _dashboard()


def _gateway(folder: Path) -> CollectorRegistry:
    metrics = services.gateway.metrics.Metrics()
    outbox = Outbox(folder / "outbox", gateway="table", max_bytes=1 << 20)
    mirror = Mirror(folder / "accounts")
    gauges.outbox(metrics, outbox, Shipper(outbox, subject=""), max_bytes=1 << 20)
    gauges.cache(metrics, CacheClient())
    gauges.accounts(metrics, mirror)
    gauges.limits(metrics, Limiter(mirror, name=""))
    gauges.budgets(metrics, Budgets(mirror, outbox, name=""))
    gauges.end(metrics, asyncio.Event())
    gauges.connections(metrics, lambda: 0)
    bodies = BodyBudget(0, seconds=0, reserve=0)
    gauges.bodies(metrics, bodies, PromptStore())
    gauges.telemetry(metrics, TelemetryEndpoint(tokens=mirror, outbox=outbox, bodies=bodies, gateway="", enabled=True))
    gauges.websockets(metrics, Connections(idle=0, age=0, stalled=0))
    gauges.keys(metrics, Keys({}, sealed=mirror, vault=Vault([])))
    return _with_process(metrics.registry(), "gateway")


def _logger() -> CollectorRegistry:
    registry = CollectorRegistry()
    services.logger.metrics.Metrics(registry)
    return _with_process(registry, "logger")


def _cache() -> CollectorRegistry:
    metrics, memory, nc = services.cache.metrics.Metrics(), LRU(0), Client()
    store = Store(nc, memory, timeout=1.0, direct=True)
    answers = Server(nc, store, memory, metrics=metrics, replica="table", concurrency=1, timeout=1.0)
    observe_cache(metrics, memory, answers)
    return _with_process(metrics.registry(), "cache")


def _dashboard() -> CollectorRegistry:
    registry = CollectorRegistry()
    services.dashboard.metrics.Metrics(registry)
    return _with_process(registry, "dashboard")


def _with_process(registry: CollectorRegistry, service: str) -> CollectorRegistry:
    process_metrics.process(registry, service=service, ready=lambda: "")
    return registry


def rows(registry: CollectorRegistry) -> list[Row]:
    """Every metric of a registry by name, including those without samples yet."""
    found = []
    for metric in registry.collect():
        if metric.name.startswith("process_"):  # the library's own, which exist only with /proc
            continue
        name = metric.name + ("_total" if metric.type == "counter" else "")
        # Families of our own collectors have labels; of the library's classes, only the class has them.
        collector = registry._names_to_collectors.get(metric.name)
        labels = getattr(metric, "_labelnames", ()) or getattr(collector, "_labelnames", ())
        unit = next((unit for part in reversed(metric.name.split("_")) if (unit := _UNITS.get(part))), "")
        found.append(Row(name, metric.type, tuple(labels), unit, metric.documentation))
    return sorted(found, key=lambda row: row.name)


def tables() -> str:
    """All tables in Markdown: metrics common to all services, then those of each."""
    found = {service: rows(registry) for service, registry in registries()}
    everywhere = set.intersection(*(set(these) for these in found.values()))
    parts = [_table("every service", sorted(everywhere, key=lambda row: row.name))]
    parts += [_table(name, [row for row in these if row not in everywhere]) for name, these in found.items()]
    return "\n\n".join(parts)


def _table(title: str, these: list[Row]) -> str:
    lines = [f"**{title}**", "", "| metric | type | labels | unit | meaning |", "|---|---|---|---|---|"]
    for row in these:
        labels = ", ".join(f"`{label}`" for label in row.labels)
        meaning = row.meaning.rstrip(".").replace("|", "\\|")
        lines.append(f"| `{row.name}` | {row.kind} | {labels} | {row.unit} | {meaning} |")
    return "\n".join(lines)


def updated(text: str) -> str:
    """OPERATIONS.md with up-to-date tables; ValueError when its markers are missing."""
    return marked_section.replaced(text, begin=BEGIN, end=END, content=tables())


if __name__ == "__main__":
    OPERATIONS.write_text(updated(OPERATIONS.read_text()))
