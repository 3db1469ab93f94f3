"""Cost of a cache hit, compared with calls directly and through the gateway."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.bench.load import Load
from tests.bench.peers import TOKEN, Bench, cpu_seconds, start
from tests.support import ports, servers

CONCURRENCY = (1, 32, 256)
REQUESTS = {1: 400, 32: 1600, 256: 3200}
ROUNDS = 5
GOAL_MS = 1.0  # p50 of a hit above a direct call, one at a time
_ASKED = "x-metrion-cache: true\r\n"
DIRECT, CALL, MEMORY, STREAM = "direct", "gateway, no cache", "hit in memory", "hit in the stream"


class Way(NamedTuple):
    """How the answer is reached."""

    name: str
    port: int
    path: str
    headers: str
    pids: tuple[int, ...]  # gateway, cache: whose CPU it costs


class Figures(NamedTuple):
    """Medians over the rounds."""

    p50_ms: float
    p95_ms: float
    rate: float
    cpu_us: tuple[float, ...]  # of each process


async def compare(bench: Bench, folder: Path, bodies: Sequence[bytes], *, rounds: int = ROUNDS) -> dict[str, Any]:
    """Figures by concurrency and way. A cache that holds nothing in memory answers out of the stream.

    `bodies` are as many questions as are asked at a time: those that are alike would share their way to the cache.
    """
    report: dict[str, Any] = {}
    gateway = bench.gateway
    for name, memory in ((MEMORY, 256 << 20), (STREAM, 0)):
        async with _cache(bench, folder, memory=memory) as pid:
            ways = [
                Way(DIRECT, bench.direct.port, bench.direct.path, "", ()),
                Way(CALL, gateway.port, gateway.path, "", (gateway.pid,)),
                Way(name, gateway.port, gateway.path, _ASKED, (gateway.pid, pid)),
            ]
            await Load(gateway.port, gateway.path, TOKEN, *bodies, headers=_ASKED).run(len(bodies), 1)
            await asyncio.sleep(0.5)  # it is kept by now
            for concurrency in CONCURRENCY:
                samples = [
                    {way.name: await _measure(way, bodies, concurrency) for way in ways} for _ in range(rounds + 1)
                ][1:]
                figures = report.setdefault(str(concurrency), {})
                for way in ways:
                    figures[way.name] = _medians([one[way.name] for one in samples])
    return report


async def _measure(way: Way, bodies: Sequence[bytes], concurrency: int) -> Figures:
    requests = REQUESTS[concurrency]
    before = [cpu_seconds(pid) for pid in way.pids]
    found = await Load(way.port, way.path, TOKEN, *bodies, headers=way.headers).run(requests, concurrency)
    await asyncio.sleep(0.1 if way.pids else 0)
    spent = (cpu_seconds(pid) - one for pid, one in zip(way.pids, before, strict=True))
    return Figures(found.p50 * 1e3, found.p95 * 1e3, found.rate, tuple(one / requests * 1e6 for one in spent))


def _medians(samples: list[Figures]) -> Figures:
    def middle(values: list[float]) -> float:
        return sorted(values)[len(values) // 2]

    cpu = zip(*(one.cpu_us for one in samples), strict=True)
    return Figures(
        middle([one.p50_ms for one in samples]),
        middle([one.p95_ms for one in samples]),
        middle([one.rate for one in samples]),
        tuple(middle(list(values)) for values in cpu),
    )


@contextlib.asynccontextmanager
async def _cache(bench: Bench, folder: Path, *, memory: int) -> AsyncIterator[int]:
    """A cache service: its process id."""
    ops = ports.free_port()
    environment = {
        "METRION_NATS_URL": bench.nats_urls["cache"],
        "METRION_CACHE_OPS_PORT": str(ops),
        "METRION_CACHE_MEMORY_BYTES": str(memory),
        "METRION_LOG_LEVEL": "WARNING",
    }
    with contextlib.ExitStack() as stack:
        pid = start(stack, ["services.cache"], ops, environment)
        await asyncio.to_thread(
            servers.wait_for, lambda: servers.answers(f"http://127.0.0.1:{ops}/readyz"), "the cache"
        )
        yield pid


def table(report: dict[str, Any]) -> str:
    """The report as text."""
    head = ("p50 ms", "above direct", "p95 ms", "req/s", "gateway CPU µs", "cache CPU µs", "hits/s a core")
    lines = [f"{'4 KB answer':26}" + "".join(f"{column:>16}" for column in head)]
    for concurrency, figures in report.items():
        lines.append(f"{concurrency} at a time")
        for name, one in figures.items():
            cpu = [*one.cpu_us, 0.0, 0.0][:2]
            per_core = f"{1e6 / sum(cpu):.0f}" if len(one.cpu_us) > 1 else "–"
            values = (
                f"{one.p50_ms:.2f}",
                f"{one.p50_ms - figures[DIRECT].p50_ms:.2f}",
                f"{one.p95_ms:.2f}",
                f"{one.rate:.0f}",
                f"{cpu[0]:.0f}" if cpu[0] else "–",
                f"{cpu[1]:.0f}" if cpu[1] else "–",
                per_core,
            )
            lines.append(f"  {name:24}" + "".join(f"{value:>16}" for value in values))
    added = report["1"][MEMORY].p50_ms - report["1"][DIRECT].p50_ms
    lines.append(f"a hit in memory, one at a time: {added:.2f} ms above a direct call (aim under {GOAL_MS})")
    return "\n".join(lines)
