"""`make bench-steady`: memory and garbage of a gateway at full load, a line a minute.

Eight of ten requests are JSON of 1 KB, two are streams, one of which has usage added and removed. Each is checked
against a rate limit and a budget. NATS forgets what it has stored every few seconds, as if a logger had taken it.
"""

import argparse
import asyncio
import json
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import uvloop

from shared import events, nats_client
from tests.bench import counted_gateway, limited
from tests.bench.__main__ import CASES, CONCURRENCY
from tests.bench.load import Load
from tests.bench.peers import TOKEN, Bench, cpu_seconds, started

_AT_ONCE = 2000  # requests between two looks at the clock
_MIX = ("1 KB JSON",) * 8 + ("stream at once, usage asked", "stream at once, usage added and removed")
_WRITTEN_WITHIN = 10.0  # seconds, for the collector's figures
_PURGE_SECONDS = 5.0
_PER = 100_000  # requests


class Reading(NamedTuple):
    """The gateway so far: requests, resident MB, CPU seconds, and by generation collections and objects collected."""

    requests: int
    megabytes: float
    cpu: float
    collections: list[int]
    unreachable: list[int]


async def run(*, minutes: int) -> list[Reading]:
    """Readings at the start, after a minute's load, and so on; each is printed when it is made."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "gc.json"
        overrides = {counted_gateway.VARIABLE: str(file)}
        async with (
            started(Path(folder), overrides, "tests.bench.counted_gateway") as bench,
            limited.limits(bench.nats_urls),
        ):
            purging = asyncio.create_task(_purge(bench))
            load = Load(bench.gateway.port, bench.gateway.path, TOKEN, *_bodies())
            await load.run(_AT_ONCE, CONCURRENCY)
            readings = [await _read(bench, file, 0)]
            print(line(0, readings), flush=True)
            sent = 0
            for minute in range(1, minutes + 1):
                until = time.monotonic() + 60
                while time.monotonic() < until:
                    await load.run(_AT_ONCE, CONCURRENCY)
                    sent += _AT_ONCE
                readings.append(await _read(bench, file, sent))
                print(line(minute, readings), flush=True)
            purging.cancel()
    return readings


def _bodies() -> Iterator[bytes]:
    by_name = {case.name: case for case in CASES}
    for name in _MIX:
        yield by_name[name].body(by_name[name].answer)


async def _purge(bench: Bench) -> None:
    nc = await nats_client.connect(bench.nats_urls["logger"], service="logger")
    try:
        while True:
            await asyncio.sleep(_PURGE_SECONDS)
            await nc.jetstream().purge_stream(events.EVENTS_STREAM)
    finally:
        await nc.close()


async def _read(bench: Bench, file: Path, requests: int) -> Reading:
    pid = bench.gateway.pid
    file.unlink(missing_ok=True)
    os.kill(pid, signal.SIGUSR2)
    async with asyncio.timeout(_WRITTEN_WITHIN):
        while not file.exists():
            await asyncio.sleep(0.05)
    generations: list[dict[str, int]] = json.loads(file.read_text())
    return Reading(
        requests,
        psutil.Process(pid).memory_info().rss / 1e6,
        cpu_seconds(pid),
        [one["collections"] for one in generations],
        [one["collected"] for one in generations],
    )


def line(minute: int, readings: list[Reading]) -> str:
    """One minute as text."""
    last = readings[-1]
    rate = ""
    if len(readings) > 1:
        before = readings[-2]
        requests = last.requests - before.requests
        rate = f", {requests / 60:,.0f} requests/s, {(last.cpu - before.cpu) / requests * 1e6:.0f} µs of CPU each"
    return f"minute {minute:3}: {last.requests:11,} requests, {last.megabytes:6.1f} MB{rate}"


def summary(readings: list[Reading]) -> str:
    """The whole run as text: what the collector did a hundred thousand requests, and how memory went."""
    first, last = readings[0], readings[-1]
    scale = _PER / (last.requests - first.requests)

    def each(name: str) -> list[Any]:
        pairs = zip(getattr(first, name), getattr(last, name), strict=True)
        return [round((after - before) * scale, 1) for before, after in pairs]

    collections, unreachable = each("collections"), each("unreachable")
    later = [reading.megabytes for reading in readings[1:]]
    half = later[len(later) // 2 :]
    return (
        f"{_PER:,} requests: {', '.join(map(str, collections))} collections of generations 0, 1, 2; "
        f"{sum(unreachable):,.0f} objects found unreachable\n"
        f"memory: {first.megabytes:.1f} MB at the start, {later[0]:.1f} after a minute, {last.megabytes:.1f} at the end; "
        f"{min(half):.1f} to {max(half):.1f} MB in the second half"
    )


def main() -> None:
    """Print the readings and what they come to."""
    parser = argparse.ArgumentParser(prog="make bench-steady", description=__doc__)
    parser.add_argument("--minutes", type=int, default=2, help="at full load (2)")
    print(summary(uvloop.run(run(**vars(parser.parse_args())))))


if __name__ == "__main__":
    main()
