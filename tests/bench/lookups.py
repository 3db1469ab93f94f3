"""Cost of a cache lookup: one cache process, one nats-server, 4 KB entries.

Latency is the asker's, nats-py and its event loop included, on the same two cores; lookups a core-second are by the
CPU that the cache's process itself took.
"""

import asyncio
import itertools
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil

from shared import cache_protocol
from tests.support import servers
from tests.support.cache_replicas import CacheRequests, cache_requests, processes

ENTRY = bytes(4096)
COUNT = 5000  # lookups a figure; five times as many of the quick ones


def keys() -> list[str]:
    """Entries nobody has."""
    return [cache_protocol.key(account="bench", model="m", digest=uuid.uuid4().hex * 2) for _ in range(COUNT)]


async def measure(
    ask: CacheRequests, process: psutil.Process, names: Iterator[str], *, concurrency: int, lease: bool
) -> str:
    """Look all up, so many at once: how fast, and what it cost."""
    took: list[float] = []
    kinds: dict[str, int] = {}

    async def one_after_another() -> None:
        for name in names:
            began = time.perf_counter()
            kind = (await ask.lookup(name, lease=lease)).kind
            took.append(time.perf_counter() - began)
            kinds[kind] = kinds.get(kind, 0) + 1

    cpu, began = process.cpu_times(), time.perf_counter()
    await asyncio.gather(*(one_after_another() for _ in range(concurrency)))
    seconds, after = time.perf_counter() - began, process.cpu_times()
    busy = after.user + after.system - cpu.user - cpu.system
    took.sort()
    p50, p99 = (took[int(len(took) * part)] * 1000 for part in (0.5, 0.99))
    said = " ".join(f"{kind} {count}" for kind, count in kinds.items())
    return f"{concurrency:>5} {len(took) / seconds:>8.0f}/s {len(took) / busy:>9.0f} {p50:>8.2f} {p99:>8.2f}  {said}"


async def table(nats: servers.NatsServer, folder: Path) -> None:
    """Hits in memory, hits in the stream, misses, misses with a lease; at 1, 32 and 256 at once."""
    print(f"{'':>7} {'at once':>5} {'lookups':>9} {'a core-s':>9} {'p50 ms':>8} {'p99 ms':>8}")
    stored = keys()
    with processes(nats, folder, 1) as (first,):
        async with cache_requests(nats) as ask:
            for name in stored:
                await ask.store(name, ENTRY)
            for concurrency in (1, 32, 256):
                process = psutil.Process(first.process.pid)
                hot = itertools.islice(itertools.cycle(stored[:500]), 5 * COUNT)
                print("memory ", await measure(ask, process, hot, concurrency=concurrency, lease=False))
    for concurrency in (1, 32, 256):
        with processes(nats, folder, 1) as (fresh,):
            async with cache_requests(nats) as ask:
                process = psutil.Process(fresh.process.pid)
                for word, names, lease in (
                    ("stream ", stored, False),
                    ("miss   ", keys(), False),
                    ("leased ", keys(), True),
                ):
                    print(word, await measure(ask, process, iter(names), concurrency=concurrency, lease=lease))


def main() -> None:
    """Everything is started here and gone afterwards."""
    with tempfile.TemporaryDirectory() as folder, servers.nats_server(Path(folder) / "nats") as nats:
        asyncio.run(table(nats, Path(folder)))


if __name__ == "__main__":
    main()
