"""`make bench-peers`: CPU and first bytes of Metrion beside other proxies and gateways.

Rounds alternate between the peers; what counts are medians, and the medians of the ratios within a round. A peer, with
all of its processes, is pinned to one core, other products from their start; provider, NATS and load generator share
the others. Metrion has everything on, with a rate limit and a budget for each request.
"""

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import uvloop

from deploy.local import children
from tests.bench import limited, products
from tests.bench.__main__ import CASES, CONCURRENCY, SETTLE, Case
from tests.bench.load import Load
from tests.bench.peers import TOKEN, Bench, cpu_seconds, launch, on_cores, peak_megabytes, pin, started, stored, tree
from tests.support import ports, servers

_CASES = ("1 KB JSON", "stream at once, usage asked")
_REFERENCE = "sglang-router"  # in Rust
_START_SECONDS, _READY_SECONDS = 120.0, 30.0
_BUSY, _SINGLE = 400, 60  # requests of a round: at full load, and one at a time
_BASELINE = "nothing"
_METRION = "requester, usage and outcome of each request, on disk and in NATS"


class Peer(NamedTuple):
    """A running peer. `loads`: by case; `pid`: its first process; `share`: of a round's requests."""

    name: str
    records: str
    loads: dict[str, Load]
    pid: int
    share: float = 1.0


class Sample(NamedTuple):
    """One round of one peer: CPU µs a request at full load, first byte in ms with one request at a time."""

    cpu: float
    first: float


Samples = dict[str, dict[str, list[Sample]]]  # by case and peer


async def run(*, rounds: int, share: float, only: set[str]) -> dict[str, Any]:
    """Start every peer that can be, and measure them in turn."""
    cases = [case for case in CASES if case.name in _CASES]
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        async with started(Path(folder)) as bench, limited.limits(bench.nats_urls):
            known = ((bench.bare, "bare aiohttp proxy", _BASELINE), (bench.gateway, "metrion", _METRION))
            peers = [Peer(name, records, _loads(cases, one.port, one.path), one.pid) for one, name, records in known]
            for product in products.PRODUCTS:
                if not only or product.name in only:
                    peers += await _start(product, cases, bench, stack)
            pin({pid for peer in peers for pid in tree(peer.pid)})
            samples: Samples = {case.name: {peer.name: [] for peer in peers} for case in cases}
            for number in range(rounds + 1):
                for case in cases:
                    for peer in peers if number % 2 else reversed(peers):
                        sample = await _measure(peer, case, share=peer.share * (share if number else share / 4))
                        if number:
                            samples[case.name][peer.name].append(sample)
            count, distinct = await stored(bench.logger, bench.ops_port)
            memory = {peer.name: sum(map(peak_megabytes, tree(peer.pid))) for peer in peers}
    return {
        "cases": {case.name: summary(samples[case.name], chunks=case.chunks) for case in cases},
        "records": {peer.name: peer.records for peer in peers},
        "memory_mb": {name: round(size) for name, size in memory.items()},
        "events": {"stored": count, "distinct": distinct},
        "load": round(os.getloadavg()[0], 1),
    }


def _loads(cases: list[Case], port: int, path: str, *, headers: str = "") -> dict[str, Load]:
    return {case.name: Load(port, path, TOKEN, case.body(case.answer), headers=headers) for case in cases}


async def _start(product: products.Product, cases: list[Case], bench: Bench, stack: contextlib.ExitStack) -> list[Peer]:
    """Install and start a product, and see that it answers; none, with the reason printed, if it does not."""
    problem = await asyncio.to_thread(products.install, product)
    if problem:
        print(f"{product.name} {problem}")
        return []
    listening = products.Ports(ports.free_port(), bench.direct.port, ports.free_port())
    log = products.FOLDER / f"{product.name}.log"
    with log.open("wb") as output, on_cores({min(os.sched_getaffinity(0))}):  # runtimes count the cores when they start
        process = launch(stack, products.command(product, listening), output=output)
    headers = products.headers(product, listening)
    loads = _loads(cases, listening.own, bench.direct.path, headers=headers)
    peer = Peer(product.name, product.records, loads, process.pid, product.share)
    try:
        await asyncio.to_thread(
            servers.wait_for,
            lambda: children.answers(listening.own),
            product.name,
            seconds=_START_SECONDS,
            abort=lambda: process.poll() is not None,
        )
        await _warm(peer)
    except (OSError, RuntimeError) as error:
        print(f"{product.name} does not answer, see {log}: {str(error)[:200]}")
        return []
    return [peer]


async def _warm(peer: Peer) -> None:
    """Send a few requests of each case; a router may first have to find its providers healthy."""
    deadline = time.monotonic() + _READY_SECONDS
    for load in peer.loads.values():
        while True:
            try:
                await load.run(CONCURRENCY, CONCURRENCY)
                break
            except RuntimeError:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(1)


async def _measure(peer: Peer, case: Case, *, share: float) -> Sample:
    requests, singles = max(CONCURRENCY, int(_BUSY * share)), max(8, int(_SINGLE * share))
    load = peer.loads[case.name]
    before = _cpu(peer)
    await load.run(requests, CONCURRENCY)
    await asyncio.sleep(SETTLE)
    cpu = (_cpu(peer) - before) / requests * 1e6
    return Sample(cpu, (await load.run(singles, 1)).first_p50 * 1e3)


def _cpu(peer: Peer) -> float:
    """CPU seconds of all processes of a peer."""
    return sum(map(cpu_seconds, tree(peer.pid)))


def summary(by_peer: dict[str, list[Sample]], *, chunks: int = 0) -> dict[str, dict[str, float]]:
    """Medians of each peer, its CPU's ratio to the reference's, and the middle half of that.

    `chunks`: of an answer, 0 for one that is no stream.
    """
    reference = by_peer.get(_REFERENCE) or next(iter(by_peer.values()))
    found = {}
    for name, samples in by_peer.items():
        ratios = sorted(one.cpu / other.cpu for one, other in zip(samples, reference, strict=True))
        found[name] = {
            "cpu_us": round(statistics.median(one.cpu for one in samples)),
            "ratio": round(statistics.median(ratios), 2),
            "ratio_low": round(ratios[len(ratios) // 4], 2),
            "ratio_high": round(ratios[-1 - len(ratios) // 4], 2),
            "first_ms": round(statistics.median(one.first for one in samples), 2),
        }
        if chunks:
            found[name]["ms_per_1000_chunks"] = round(found[name]["cpu_us"] / chunks, 2)
    return found


def table(report: dict[str, Any]) -> str:
    """The report as text: a row a peer below each case, then what each records."""
    lines = []
    for case, peers in report["cases"].items():
        is_stream = any("ms_per_1000_chunks" in one for one in peers.values())
        last = f"{'ms a 1,000 chunks':>20}" if is_stream else ""
        lines.append(f"{case:28}{'CPU µs':>8}{'ratio':>9}{'middle half':>15}{'first ms':>11}{last}")
        for name, one in peers.items():
            half = f"{one['ratio_low']:.2f}–{one['ratio_high']:.2f}"
            last = f"{one['ms_per_1000_chunks']:>20.2f}" if is_stream else ""
            lines.append(
                f"  {name:26}{one['cpu_us']:>8.0f}{one['ratio']:>9.2f}{half:>15}{one['first_ms']:>11.2f}{last}"
            )
    lines += [f"{name}: records {what}; {report['memory_mb'][name]} MB" for name, what in report["records"].items()]
    events = report["events"]
    lines.append(f"events of metrion: {events['stored']} stored, {events['distinct']} distinct")
    lines.append(f"load of the machine at the end: {report['load']}; ratios to {_REFERENCE}, else to the first peer")
    return "\n".join(lines)


def main() -> None:
    """Read the options and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.side_by_side", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="measured rounds of each peer (9)")
    parser.add_argument("--share", type=float, default=1.0, help="share of a round's requests (1.0)")
    parser.add_argument("--only", default="", metavar="NAMES", help="only these products, separated by commas")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    options = parser.parse_args()
    only = set(filter(None, options.only.split(",")))
    report = uvloop.run(run(rounds=options.rounds, share=options.share, only=only))
    print(table(report))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
