"""`make bench-fleet`: throughput, CPU and stored events of one gateway on one core, two on two, and so on.

So that the load and the provider take no core from a second gateway that the first could have used, each gateway has a
core for itself, its own load generator and its own provider; NATS may use the cores of all. Twice as much of everything
on twice the cores: what the throughput's ratio lacks is what sharing NATS, its counters and its streams costs. "By CPU"
is that ratio from the CPU of all processes, which other work on the machine disturbs less. Every request is checked
against a rate limit and a budget.
"""

import argparse
import asyncio
import contextlib
import multiprocessing
import os
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import uvloop

from shared import accounts_admin, nats_client
from tests.bench import limited
from tests.bench.load import Load, Outcome
from tests.bench.peers import TOKEN, cpu_seconds, on_cores, start, stored
from tests.support import ports, servers

_PATH = "/api/proxy/openai/v1/chat/completions"
_BODY = b'{"model":"gpt-4o-mini","user":"1k","messages":[{"role":"user","content":"Say this is a test."}]}'
_WARM = 300  # requests before the measured ones, a gateway
_MOST = 4  # gateways


class Cell(NamedTuple):
    """A gateway with its load generator, and the processes on its core."""

    port: int
    ops_port: int
    gateway_pid: int
    driver: ProcessPoolExecutor
    pids: list[int]


class Figures(NamedTuple):
    """Of one size: responses a second, the slowest gateway's latencies in ms, CPU µs a response, cores in use, events."""

    gateways: int
    rate: float
    p50: float
    p95: float
    gateway_us: float
    all_us: float
    cores: float
    events: int
    distinct: int
    expected: int


async def measure(count: int, *, requests: int, concurrency: int, folder: Path) -> Figures:
    """`requests` responses of 1 KB through each of `count` gateways, over `concurrency` connections, each event counted."""
    cores = sorted(os.sched_getaffinity(0))[:count]
    with on_cores(set(cores)), servers.nats_server(folder / "nats") as nats, contextlib.ExitStack() as stack:
        logger = await nats_client.connect(nats.url("admin"), service="cli")
        await servers.provision(nats)
        await _seed(nats)
        cells = [_cell(stack, nats, core, folder / str(core)) for core in cores]
        async with limited.limits({user: nats.url(user) for user in nats.users}):
            await _drive_all(cells, _WARM, 8)
            everyone = {nats.pid, os.getpid()}.union(*(cell.pids for cell in cells))
            gateways, whole, began = _gateways(cells), sum(map(cpu_seconds, everyone)), time.perf_counter()
            outcomes = await _drive_all(cells, requests, concurrency)
            seconds = time.perf_counter() - began
            gateways, whole = _gateways(cells) - gateways, sum(map(cpu_seconds, everyone)) - whole
        events, distinct = await stored(logger, *(cell.ops_port for cell in cells))
        await logger.close()
    responses = requests * count
    return Figures(
        count,
        responses / seconds,
        max(one.p50 for one in outcomes) * 1e3,
        max(one.p95 for one in outcomes) * 1e3,
        gateways / responses * 1e6,
        whole / responses * 1e6,
        whole / seconds,
        events,
        distinct,
        2 * (responses + _WARM * count),
    )


async def _seed(nats: servers.NatsServer) -> None:
    admin = await nats_client.connect(nats.url("admin"), service="admin")
    await accounts_admin.ensure_account(admin.jetstream(), "default")
    await accounts_admin.ensure_token(admin.jetstream(), account="default", name="bench", token=TOKEN)
    await admin.close()


def _cell(stack: contextlib.ExitStack, nats: servers.NatsServer, core: int, folder: Path) -> Cell:
    upstream, port, ops_port = (ports.free_port() for _ in range(3))
    environment = {
        "METRION_NATS_URL": nats.url("gateway"),
        "METRION_GATEWAY_PORT": str(port),
        "METRION_GATEWAY_OPS_PORT": str(ops_port),
        "METRION_GATEWAY_DIR": str(folder),
        "METRION_GATEWAY_NAME": f"bench-{folder.name}",
        "METRION_UPSTREAM_OPENAI": f"http://127.0.0.1:{upstream}",
        "METRION_LOG_LEVEL": "WARNING",
        "METRION_DEFAULT_REQUESTS_PER_MINUTE": "0",
        "OPENAI_API_KEY": "upstream-key",
    }
    with on_cores({core}):
        provider = start(stack, ["tests.bench.upstream", str(upstream)], upstream)
        gateway = start(stack, ["services.gateway"], port, environment)
        driver = stack.enter_context(ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")))
        driver_pid = driver.submit(os.getpid).result()
    servers.wait_for(lambda: servers.answers(f"http://127.0.0.1:{ops_port}/readyz"), "the gateway's readiness")
    return Cell(port, ops_port, gateway, driver, [gateway, provider, driver_pid])


async def _drive_all(cells: list[Cell], requests: int, concurrency: int) -> list[Outcome]:
    """Send requests to each gateway, from a process on its core."""
    running = [cell.driver.submit(_drive, cell.port, requests, concurrency) for cell in cells]
    return await asyncio.gather(*map(asyncio.wrap_future, running))


def _drive(port: int, requests: int, concurrency: int) -> Outcome:
    return uvloop.run(Load(port, _PATH, TOKEN, _BODY).run(requests, concurrency))


def _gateways(cells: list[Cell]) -> float:
    """CPU seconds of the gateways."""
    return sum(cpu_seconds(cell.gateway_pid) for cell in cells)


def table(found: dict[int, list[Figures]]) -> str:
    """Medians of each size as text. The ratio of throughputs is the median of those within a round."""
    columns = ("gateways", "responses/s", "ratio", "by CPU", "p50 ms", "p95 ms", "gateway µs", "all µs", "cores")
    lines = ["".join(f"{column:>12}" for column in columns) + "   events stored, distinct, expected"]
    for count, rounds in found.items():
        pairs = list(zip(rounds, found[1], strict=True))
        ratio = statistics.median(one.rate / first.rate for one, first in pairs)
        by_cpu = statistics.median(count * first.all_us / one.all_us for one, first in pairs)
        rate, p50, p95, own, whole, cores = map(statistics.median, list(zip(*rounds, strict=True))[1:7])
        values = [f"{count}", f"{rate:,.0f}", f"{ratio:.2f}", f"{by_cpu:.2f}", f"{p50:.1f}", f"{p95:.1f}"]
        values += [f"{own:.0f}", f"{whole:.0f}", f"{cores:.2f}"]
        events = [sum(column) for column in list(zip(*rounds, strict=True))[7:]]
        lines.append("".join(f"{value:>12}" for value in values) + "   " + ", ".join(f"{sum_:,}" for sum_ in events))
    return "\n".join(lines)


def main() -> None:
    """Measure each size in turn, `--rounds` times over, and print the medians."""
    parser = argparse.ArgumentParser(prog="make bench-fleet", description=__doc__)
    parser.add_argument("--requests", type=int, default=12_000, help="of each gateway and round (12000)")
    parser.add_argument("--concurrency", type=int, default=48, help="connections to each gateway (48)")
    parser.add_argument("--rounds", type=int, default=5, help="of each size (5)")
    arguments = parser.parse_args()
    sizes = range(1, min(_MOST, len(os.sched_getaffinity(0))) + 1)
    found: dict[int, list[Figures]] = {size: [] for size in sizes}
    for _ in range(arguments.rounds):
        for size in sizes:
            with tempfile.TemporaryDirectory() as folder:
                asked = {"requests": arguments.requests, "concurrency": arguments.concurrency}
                found[size].append(asyncio.run(measure(size, **asked, folder=Path(folder))))
    print(table(found))
    print(f"a core for each gateway, its load and its provider; load of the machine {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
