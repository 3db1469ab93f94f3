"""`make bench`: the gateway compared with a bare aiohttp proxy and with no proxy.

CPU is the proxy process's own (user and system) over a round; rounds alternate between the peers, so that noise of the
machine hits all of them, and the median of the rounds' ratios is what counts.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import uvloop

from tests.bench import agents, cache, limits, profile
from tests.bench.figures import Sample, summary, table
from tests.bench.load import SDK, Load
from tests.bench.peers import TOKEN, Bench, Peer, cpu_seconds, peak_megabytes, started, stored
from tests.bench.upstream import CHUNKS

CONCURRENCY = 32
SETTLE = 0.1  # seconds after the load: what the gateway still ships is its cost too


class Case(NamedTuple):
    """What is asked, and how often a round. `answer` and `single` name the upstream's answers (tests/bench/upstream.py)."""

    name: str
    answer: str
    requests: int
    single: str
    singles: int
    fields: dict[str, Any]
    chunks: int = 0
    client: str = SDK

    def body(self, answer: str) -> bytes:
        """The request, about 1 KB unless the fields have messages."""
        asked = {"model": "gpt-4o-mini", "user": answer, "messages": [_MESSAGE], **self.fields}
        return json.dumps(asked, separators=(",", ":")).encode()


_MESSAGE = {"role": "user", "content": "x" * 900}
_ASKED: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
_UNASKED: dict[str, Any] = {"stream": True}
CASES = (
    Case("1 KB JSON", "1k", 1600, "1k", 250, {}),
    Case("50 KB JSON", "50k", 800, "50k", 150, {}),
    Case("stream, usage asked by the client", "paced", 64, "short", 30, _ASKED, CHUNKS),
    Case("stream, usage added and removed", "paced", 64, "short", 30, _UNASKED, CHUNKS),
    Case("stream at once, usage asked", "burst", 192, "burst", 60, _ASKED, CHUNKS),
    Case("stream at once, usage added and removed", "burst", 192, "burst", 60, _UNASKED, CHUNKS),
    Case("50 KB request of Claude Code", "1k", 600, "1k", 100, agents.fields(50 << 10), client=agents.CLAUDE_CODE),
    Case("300 KB request of Codex", "1k", 300, "1k", 60, agents.fields(300 << 10), client=agents.CODEX),
)


async def measure(peer: Peer, case: Case, bench: Bench, *, share: float) -> tuple[Sample, int]:
    """One round of one peer: (figures, requests sent)."""
    requests, singles = max(CONCURRENCY, int(case.requests * share)), max(8, int(case.singles * share))
    load = _load(peer, case, case.answer)
    before, nats_before = cpu_seconds(peer.pid), cpu_seconds(bench.nats_pid)
    busy = await load.run(requests, CONCURRENCY)
    await asyncio.sleep(SETTLE if peer.pid else 0)
    cpu, nats_cpu = cpu_seconds(peer.pid) - before, cpu_seconds(bench.nats_pid) - nats_before
    single = await _load(peer, case, case.single).run(singles, 1)
    return Sample(cpu / requests, nats_cpu / requests, busy, single), requests + singles


def _load(peer: Peer, case: Case, answer: str) -> Load:
    return Load(peer.port, peer.path, TOKEN, case.body(answer), client=case.client)


async def same_bytes(bench: Bench, case: Case) -> bool:
    """Whether the gateway's answer is the provider's, byte for byte. One request to the gateway."""
    ours, theirs = [await _load(peer, case, case.answer).once() for peer in (bench.gateway, bench.direct)]
    return ours == theirs


async def compare(bench: Bench, *, rounds: int, share: float, only: str = "") -> dict[str, Any]:
    """Every case, `rounds` times after one to warm up, with `share` of its requests."""
    report: dict[str, Any] = {"cases": {}}
    sent = 0
    for case in (case for case in CASES if only in case.name):
        same = await same_bytes(bench, case)
        sent += 1
        samples: list[dict[str, Sample]] = []
        for number in range(rounds + 1):
            order = (bench.direct, bench.bare, bench.gateway)
            one: dict[str, Sample] = {}
            for peer in order if number % 2 else reversed(order):
                one[peer.name], requests = await measure(peer, case, bench, share=share if number else share / 4)
                sent += requests * (peer is bench.gateway)
            if number:
                samples.append(one)
        report["cases"][case.name] = {**summary(samples, chunks=case.chunks), "same_bytes": same}
    report["memory_mb"] = {peer.name: round(peak_megabytes(peer.pid), 1) for peer in (bench.bare, bench.gateway)}
    count, distinct = await stored(bench.logger, bench.ops_port)
    report["events"] = {"expected": 2 * sent, "stored": count, "distinct": distinct}
    return report


def faults(report: dict[str, Any]) -> list[str]:
    """What is wrong whatever the speed: lost events, changed answers."""
    found = [f"the answer was changed: {name}" for name, one in report["cases"].items() if not one["same_bytes"]]
    events = report["events"]
    if not events["expected"] == events["stored"] == events["distinct"]:
        found.append(f"events are missing or stored twice: {events}")
    return found


async def run(options: argparse.Namespace) -> dict[str, Any]:
    """Start everything, then measure or profile it."""
    with tempfile.TemporaryDirectory() as folder:
        async with started(Path(folder)) as bench:
            if options.profile is None:
                rounds, share = (3, 0.5) if options.quick else (13, 0.5)
                alternations = 10 if options.quick else limits.ROUNDS
                if options.limits:
                    body = CASES[0].body(CASES[0].answer)
                    compared = await limits.compare(bench, body, rounds=alternations)
                    return {"limits": compared, "waits": await limits.waits(bench)}
                report = {} if options.cache else await compare(bench, rounds=rounds, share=share, only=options.only)
                if options.only:
                    return report
                if report:
                    report["limits"] = await limits.compare(bench, CASES[0].body(CASES[0].answer), rounds=alternations)
                    report["waits"] = await limits.waits(bench)
                asked = [Case("", "", 0, "", 0, {"stop": str(n)}).body("4k") for n in range(max(cache.CONCURRENCY))]
                return report | {"cache": await cache.compare(bench, Path(folder), asked)}
            for case in CASES:
                loads = [_load(peer, case, case.answer) for peer in (bench.bare, bench.gateway)]
                for peer, load in zip((bench.bare, bench.gateway), loads, strict=True):
                    await profile.record(peer, load, options.profile / f"{case.name} {peer.name}".replace(" ", "-"))
            return {}


def main() -> None:
    """Read the options, print the table, exit 1 when stored rows or bytes are wrong: never for the speed."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds and requests")
    parser.add_argument("--cache", action="store_true", help="only the cache")
    parser.add_argument("--limits", action="store_true", help="only rate limits")
    parser.add_argument("--only", default="", metavar="TEXT", help="only cases whose name has this text")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--profile", type=Path, metavar="FOLDER", help="sample the proxies with py-spy instead")
    options = parser.parse_args()
    began = time.monotonic()
    report = uvloop.run(run(options))
    if not report:
        return
    report["seconds"] = round(time.monotonic() - began)
    if "cases" in report:
        print(table(report))
    if "limits" in report:
        print(limits.table(report["limits"]))
        print(limits.waits_line(report["waits"], whole_us=report["limits"][limits.OFF]["cpu_us"]))
    if "cache" in report:
        print(cache.table(report["cache"]))
    print(f"in {report['seconds']} s")
    if options.json:
        options.json.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    if "cases" in report and (wrong := faults(report)):
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
