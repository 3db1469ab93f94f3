"""`make bench`: the gateway with everything on, side by side with a bare aiohttp proxy and with no proxy at all.

CPU is the proxy process's own (user and system) over a round; rounds alternate between the peers, so that noise of the
machine hits all of them, and medians of the rounds are compared.
"""

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import uvloop

from deploy.local.children import free_port
from shared import accounts, bus, contract
from tests import parts
from tests.bench.load import Load, Outcome

ROOT = Path(__file__).parents[2]
TOKEN = "sk-metrion-" + "b" * 32
CASES: dict[str, tuple[dict[str, Any], int]] = {  # name → (request body, requests a round)
    "1 KB JSON": ({"model": "gpt-4o-mini", "user": "1k", "messages": [{"role": "user", "content": "x" * 900}]}, 2000),
    "50 KB JSON": ({"model": "gpt-4o-mini", "user": "50k", "messages": [{"role": "user", "content": "x" * 900}]}, 1000),
    "stream, usage asked": ({"model": "gpt-4o-mini", "stream": True, "stream_options": {"include_usage": True}}, 64),
    "stream, usage added and removed": ({"model": "gpt-4o-mini", "stream": True}, 64),
}


class Peer:
    """One way to the provider: its address, and the process that is measured."""

    def __init__(self, name: str, port: int, path: str, process: psutil.Process | None) -> None:
        self.name, self.port, self.path, self._process = name, port, path, process
        self.peak = 0

    def cpu(self) -> float:
        """Seconds of CPU so far; 0 without a proxy."""
        if self._process is None:
            return 0.0
        self.peak = max(self.peak, self._process.memory_info().rss)
        times = self._process.cpu_times()
        return float(times.user + times.system)


def start(arguments: list[str], port: int, environment: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start a Python module and wait until it listens."""
    process = subprocess.Popen([sys.executable, "-m", *arguments], cwd=ROOT, env={**os.environ, **(environment or {})})
    parts.wait_for(lambda: _listens(port), f"{arguments[0]} on port {port}", abort=lambda: process.poll() is not None)
    return process


def _listens(port: int) -> bool:
    return any(one.laddr.port == port and one.status == "LISTEN" for one in psutil.net_connections("tcp"))


@contextlib.asynccontextmanager
async def peers(folder: Path) -> AsyncIterator[tuple[list[Peer], Any]]:
    """Direct access, the bare proxy and the gateway, with a real nats-server that stores every event."""
    with parts.nats_server(folder / "nats") as nats, contextlib.ExitStack() as stack:
        admin = await bus.connect(nats.url("admin"), service="admin")
        logger = await bus.connect(nats.url("logger"), service="logger")
        await bus.provision(logger.jetstream())
        await accounts.ensure_account(admin.jetstream(), "default")
        await accounts.ensure_token(admin.jetstream(), account="default", name="bench", token=TOKEN)

        def run(arguments: list[str], port: int, environment: dict[str, str] | None = None) -> psutil.Process:
            process = start(arguments, port, environment)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            return psutil.Process(process.pid)

        upstream, bare, gateway, ops = (free_port() for _ in range(4))
        run(["tests.bench.upstream", str(upstream)], upstream)
        url = f"http://127.0.0.1:{upstream}"
        bare_process = run(["tests.bench.bare_proxy", str(bare), url], bare)
        environment = {
            "METRION_NATS_URL": nats.url("gateway"),
            "METRION_GATEWAY_PORT": str(gateway),
            "METRION_GATEWAY_OPS_PORT": str(ops),
            "METRION_GATEWAY_DIR": str(folder / "gateway"),
            "METRION_UPSTREAM_OPENAI": url,
            "OPENAI_API_KEY": "upstream-key",
        }
        gateway_process = run(["services.gateway"], gateway, environment)
        await asyncio.sleep(1)  # until it has seen the accounts
        try:
            yield (
                [
                    Peer("direct", upstream, "/v1/chat/completions", None),
                    Peer("bare", bare, "/v1/chat/completions", bare_process),
                    Peer("gateway", gateway, "/api/proxy/openai/v1/chat/completions", gateway_process),
                ],
                logger,
            )
        finally:
            await admin.close()
            await logger.close()


async def measure(peer: Peer, body: bytes, *, requests: int, concurrency: int) -> tuple[float, Outcome]:
    """(CPU µs a request, outcome) of one round."""
    load = Load(peer.port, peer.path, TOKEN, body)
    before = peer.cpu()
    outcome = await load.run(requests, concurrency)
    await asyncio.sleep(0.1)  # what the gateway still ships is its cost too
    return (peer.cpu() - before) / requests * 1e6, outcome


async def stored(logger: Any) -> int:
    """Events in the stream, beats left out."""
    subscription = await logger.jetstream().subscribe(f"{contract.EVENTS_SUBJECT}.>", ordered_consumer=True)
    info = await logger.jetstream().stream_info(contract.EVENTS_STREAM)
    count = 0
    for _ in range(info.state.messages):
        message = await subscription.next_msg(timeout=5)
        count += sum(
            not isinstance(contract.decode(one), contract.GatewayBeat) for one in contract.frames(message.data)
        )
    return count


async def bench(*, rounds: int, share: float) -> dict[str, Any]:
    """Every case, `rounds` times, with `share` of its requests."""
    report: dict[str, Any] = {}
    sent = 0
    with tempfile.TemporaryDirectory() as folder:
        async with peers(Path(folder)) as (all_peers, logger):
            for case, (body, requests) in CASES.items():
                count = max(8, int(requests * share))
                data = json.dumps(body, separators=(",", ":")).encode()
                figures: dict[str, list[tuple[float, Outcome, Outcome]]] = {peer.name: [] for peer in all_peers}
                for number in range(rounds + 1):
                    for peer in all_peers:
                        cpu, busy = await measure(peer, data, requests=count, concurrency=32)
                        _, single = await measure(peer, data, requests=max(4, count // 16), concurrency=1)
                        sent += (count + max(4, count // 16)) * (peer.name == "gateway")
                        if number:  # the first round warms up
                            figures[peer.name].append((cpu, busy, single))
                report[case] = _summary(figures)
            await asyncio.sleep(1)
            report["events"] = {"expected": 2 * sent, "stored": await stored(logger)}
            report["memory MB"] = {peer.name: round(peer.peak / 1e6, 1) for peer in all_peers if peer.peak}
    return report


def _summary(figures: dict[str, list[tuple[float, Outcome, Outcome]]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, rounds in figures.items():
        found[name] = {
            "cpu_us": round(statistics.median(cpu for cpu, _, _ in rounds), 1),
            "p50_ms": round(statistics.median(one.p50 for _, _, one in rounds) * 1e3, 2),
            "first_byte_ms": round(statistics.median(one.first for _, _, one in rounds) * 1e3, 2),
            "rps": round(statistics.median(busy.rate for _, busy, _ in rounds)),
        }
    pairs = zip(figures["gateway"], figures["bare"], strict=True)
    ratios = [(ours[0] / theirs[0], ours[2].first / theirs[2].first) for ours, theirs in pairs if theirs[0]]
    found["gateway / bare"] = {
        "cpu": round(statistics.median(cpu for cpu, _ in ratios), 2),
        "first_byte": round(statistics.median(first for _, first in ratios), 2),
    }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a fifth of the requests, three rounds")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    began = time.monotonic()
    report = uvloop.run(bench(rounds=3 if options.quick else 5, share=0.2 if options.quick else 1.0))
    for case, figures in report.items():
        print(case)
        for name, values in figures.items():
            print(f"  {name:16} {values}")
    print(f"in {time.monotonic() - began:.0f} s")
    if options.json:
        options.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
