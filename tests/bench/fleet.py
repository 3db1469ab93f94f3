"""`make bench-fleet`: throughput, CPU and stored events of one to four gateways.

The load goes to the gateways' ports in equal parts, as a balancer of connections spreads it, at no cost of its own.
"""

import argparse
import asyncio
import contextlib
import os
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from shared import accounts_admin, nats_client
from tests.bench.load import Load, Outcome
from tests.bench.peers import TOKEN, cpu_seconds, start, stored
from tests.support import ports, servers

_PATH = "/api/proxy/openai/v1/chat/completions"
_BODY = b'{"model":"gpt-4o-mini","user":"1k","messages":[{"role":"user","content":"Say this is a test."}]}'
_WARM = 300  # requests before the measured ones, a gateway


class Pod(NamedTuple):
    """A gateway."""

    port: int
    ops_port: int
    pid: int


class Figures(NamedTuple):
    """Of one size: answers a second, the slowest gateway's latencies in ms, CPU µs an answer, cores in use, events."""

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
    """`requests` answers of 1 KB over `concurrency` connections through `count` gateways, each event counted."""
    with servers.nats_server(folder / "nats") as nats, contextlib.ExitStack() as stack:
        logger = await nats_client.connect(nats.url("admin"), service="cli")
        await servers.provision(nats)
        await _seed(nats)
        upstream = ports.free_port()
        upstream_pid = start(stack, ["tests.bench.upstream", str(upstream)], upstream)
        pods = [_pod(stack, nats, upstream, folder / str(number)) for number in range(count)]
        loads = [Load(pod.port, _PATH, TOKEN, _BODY) for pod in pods]
        await asyncio.gather(*(load.run(_WARM, 8) for load in loads))
        everyone = [nats.pid, upstream_pid, os.getpid(), *(pod.pid for pod in pods)]
        gateways, whole, began = _cpu(pods), sum(map(cpu_seconds, everyone)), time.perf_counter()
        outcomes = await asyncio.gather(*(load.run(requests // count, concurrency // count) for load in loads))
        seconds = time.perf_counter() - began
        gateways, whole = _cpu(pods) - gateways, sum(map(cpu_seconds, everyone)) - whole
        events, distinct = await stored(logger, *(pod.ops_port for pod in pods))
        await logger.close()
    answers = requests // count * count
    return Figures(
        count,
        answers / seconds,
        *_slowest(outcomes),
        gateways / answers * 1e6,
        whole / answers * 1e6,
        whole / seconds,
        events,
        distinct,
        2 * (answers + _WARM * count),
    )


async def _seed(nats: servers.NatsServer) -> None:
    admin = await nats_client.connect(nats.url("admin"), service="admin")
    await accounts_admin.ensure_account(admin.jetstream(), "default")
    await accounts_admin.ensure_token(admin.jetstream(), account="default", name="bench", token=TOKEN)
    await admin.close()


def _pod(stack: contextlib.ExitStack, nats: servers.NatsServer, upstream: int, folder: Path) -> Pod:
    port, ops_port = ports.free_port(), ports.free_port()
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
    pid = start(stack, ["services.gateway"], port, environment)
    servers.wait_for(lambda: servers.answers(f"http://127.0.0.1:{ops_port}/readyz"), "the gateway's readiness")
    return Pod(port, ops_port, pid)


def _cpu(pods: list[Pod]) -> float:
    return sum(cpu_seconds(pod.pid) for pod in pods)


def _slowest(outcomes: list[Outcome]) -> tuple[float, float]:
    return max(one.p50 for one in outcomes) * 1e3, max(one.p95 for one in outcomes) * 1e3


def main() -> None:
    """Measure each size in turn, `--rounds` times over, and print the medians."""
    parser = argparse.ArgumentParser(prog="make bench-fleet")
    parser.add_argument("--requests", type=int, default=12_000)
    parser.add_argument("--concurrency", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    found: dict[int, list[Figures]] = {}
    for _ in range(arguments.rounds):
        for count in (1, 2, 3, 4):
            with tempfile.TemporaryDirectory() as folder:
                figures = asyncio.run(
                    measure(
                        count,
                        requests=arguments.requests,
                        concurrency=arguments.concurrency,
                        folder=Path(folder),
                    )
                )
            found.setdefault(count, []).append(figures)
    print(f"{os.cpu_count()} cores, shared by the gateways, NATS, the provider and the load; medians")
    print("gateways  answers/s   p50 ms   p95 ms  gateway µs   all µs  cores   events stored, distinct, expected")
    for count, rounds in found.items():
        columns = list(zip(*rounds, strict=True))
        rate, p50, p95, own, whole, cores = (sorted(column)[len(rounds) // 2] for column in columns[1:7])
        events = ", ".join(f"{sum(column):,}" for column in columns[7:])
        print(f"{count:8}{rate:11,.0f}{p50:9.1f}{p95:9.1f}{own:12.0f}{whole:9.0f}{cores:7.2f}   {events}")


if __name__ == "__main__":
    main()
