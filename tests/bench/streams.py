"""`make bench-streams`: many slow streams at once, with the delay that the gateway adds to each chunk.

Each stream has 50 chunks a second that say when they were sent. The same streams run without the gateway first: what
they are late by then is the load generator's and the provider's own. The gateway has one core, they have the others.
Usage is added to each stream and removed again.
"""

import argparse
import asyncio
import json
import re
import tempfile
import time
from array import array
from pathlib import Path
from typing import Any, cast

import uvloop

from tests.bench import limited
from tests.bench.peers import TOKEN, Bench, Peer, cpu_seconds, peak_megabytes, pin, started
from tests.bench.upstream import BEAT, DIGITS

_STALL_MS = 250.0  # a chunk that is later stalls its stream
_OPENING = 2.0  # seconds in which all streams begin
_END = b"\r\n0\r\n\r\n"  # of a chunked body
_SENT = re.compile(rb'"content":"(\d{%d})"' % DIGITS)


class Stream(asyncio.Protocol):
    """One stream: `delays` of its chunks in nanoseconds, `failed` if it was cut or refused."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._rest = b""
        self.delays = array("q")
        self.failed = ""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's own is no subclass
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        whole, _, self._rest = (self._rest + data).rpartition(b"\n\n")
        self.delays.extend(now - int(sent) for sent in _SENT.findall(whole))
        if self._rest.endswith(_END):
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._rest.endswith(_END):
            self.failed = self._rest[:200].decode("latin-1") or str(error)
        self.done.set_result(None)


async def measure(*, streams: int, seconds: float) -> dict[str, Any]:
    """The streams without the gateway, then through it."""
    with tempfile.TemporaryDirectory() as folder:
        async with started(Path(folder)) as bench, limited.limits(bench.nats_urls):
            pin({bench.gateway.pid})
            direct = await _run(bench.direct, streams=streams, seconds=seconds)
            return {"direct": direct, "gateway": await _through(bench, streams=streams, seconds=seconds)}


async def _through(bench: Bench, *, streams: int, seconds: float) -> dict[str, float]:
    before, began = cpu_seconds(bench.gateway.pid), time.monotonic()
    found = await _run(bench.gateway, streams=streams, seconds=seconds)
    cores = (cpu_seconds(bench.gateway.pid) - before) / (time.monotonic() - began)
    return {**found, "cores": cores, "memory_mb": peak_megabytes(bench.gateway.pid)}


async def _run(peer: Peer, *, streams: int, seconds: float) -> dict[str, float]:
    chunks = int(seconds / BEAT)
    request = _request(peer, chunks)
    loop = asyncio.get_running_loop()
    opened = []
    for _ in range(streams):
        _, stream = await loop.create_connection(lambda: Stream(request), "127.0.0.1", peer.port)
        opened.append(stream)
        await asyncio.sleep(_OPENING / streams)
    await asyncio.wait([stream.done for stream in opened], timeout=4 * seconds + 10)
    return summary(opened, chunks=chunks)


def _request(peer: Peer, chunks: int) -> bytes:
    messages = [{"role": "user", "content": "x" * 900}]
    asked = {"model": "gpt-4o-mini", "user": f"timed{chunks}", "stream": True, "messages": messages}
    body = json.dumps(asked, separators=(",", ":")).encode()
    head = (
        f"POST {peer.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def summary(streams: list[Stream], *, chunks: int) -> dict[str, float]:
    """Streams that were held, and their chunks' delays in milliseconds."""
    delays = sorted(delay / 1e6 for stream in streams for delay in stream.delays)
    held = [
        stream
        for stream in streams
        if not stream.failed and len(stream.delays) == chunks and max(stream.delays) / 1e6 < _STALL_MS
    ]
    return {
        "streams": len(streams),
        "held": len(held),
        "p50_ms": delays[len(delays) // 2],
        "p99_ms": delays[len(delays) * 99 // 100],
        "most_ms": delays[-1],
    }


def text(report: dict[str, dict[str, float]]) -> str:
    """The figures as lines."""
    direct, gateway = report["direct"], report["gateway"]
    lines = [
        f"{name:8} {one['held']:.0f} of {one['streams']:.0f} streams without a stall; a chunk's delay in ms: "
        f"p50 {one['p50_ms']:.2f}, p99 {one['p99_ms']:.2f}, most {one['most_ms']:.1f}"
        for name, one in report.items()
    ]
    added = [f"{name} {gateway[f'{name}_ms'] - direct[f'{name}_ms']:.2f}" for name in ("p50", "p99")]
    lines.append(f"added by the gateway, in ms: {', '.join(added)}")
    lines.append(f"the gateway took {gateway['cores']:.2f} of a core, and {gateway['memory_mb']:.0f} MB at its peak")
    return "\n".join(lines)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="make bench-streams", description=__doc__)
    parser.add_argument("--streams", type=int, default=512, help="streams at once (512)")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long each lasts (20)")
    print(text(uvloop.run(measure(**vars(parser.parse_args())))))


if __name__ == "__main__":
    main()
