"""`make bench-websockets`: memory and CPU of idle WebSocket connections.

Connections are opened through a gateway, left idle, used for one response each, and left idle again. CPU time is
measured, for it depends little on what else the machine does.
"""

import argparse
import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import uvloop

from tests.bench.peers import TOKEN, Bench, cpu_seconds, started
from tests.support.websocket_peers import TEXT, Deflate, Provider, Socket, connect, frame, provider

_PATH = "/api/proxy/openai/v1/responses"
_AT_ONCE = 50  # connections that are opened, or used, at a time
_ASKED = {"type": "response.create", "model": "gpt-4o-mini", "input": "x" * 900}
_USAGE = {"input_tokens": 26, "output_tokens": 200, "total_tokens": 226}


class Memory(NamedTuple):
    """Of the gateway, resident, in MB: without connections, with idle ones, and after a response on each."""

    before: float
    idle: float
    used: float


class Pair(NamedTuple):
    """Both ends of a relayed connection."""

    client: Socket
    provider: Socket
    deflate: Deflate | None  # the client's; the provider answers uncompressed

    async def respond(self) -> None:
        """Ask for a response, and get it."""
        asked = json.dumps(_ASKED).encode()
        sent = frame(asked, TEXT, masked=True) if self.deflate is None else self.deflate.message(asked, masked=True)
        await self.client.send(sent)
        await self.provider.frame()
        for kind, extra in (("created", {}), ("completed", {"usage": _USAGE})):
            event = {"type": f"response.{kind}", "response": {"id": "resp_1", "model": "gpt-4o-mini", **extra}}
            await self.provider.send(frame(json.dumps(event).encode(), TEXT, masked=False))
            await self.client.frame()


async def measure(*, connections: int, seconds: float, deflate: bool) -> dict[str, Any]:
    """Open connections through a new gateway and look at what it uses."""
    with tempfile.TemporaryDirectory() as folder:
        async with provider() as peer:
            upstream = {"METRION_UPSTREAM_OPENAI": f"http://127.0.0.1:{peer.port}"}
            async with started(Path(folder), upstream) as bench:
                return await _measure(bench, peer, connections=connections, seconds=seconds, deflate=deflate)


async def _measure(bench: Bench, peer: Provider, *, connections: int, seconds: float, deflate: bool) -> dict[str, Any]:
    pid = bench.gateway.pid
    pairs = await _open(bench, peer, 1, deflate=deflate)  # loads what the first one needs
    await pairs[0].respond()
    before = _megabytes(pid)
    for _ in range(connections // _AT_ONCE):
        pairs += await _open(bench, peer, _AT_ONCE, deflate=deflate)
    idle = _megabytes(pid)
    cpu = await _cpu_share(pid, seconds)
    for first in range(1, len(pairs), _AT_ONCE):
        await asyncio.gather(*(pair.respond() for pair in pairs[first : first + _AT_ONCE]))
    used = _megabytes(pid)
    cpu_after = await _cpu_share(pid, seconds)
    for pair in pairs:
        pair.client.leave()
        pair.provider.leave()
    memory = Memory(before, idle, used)
    return {"connections": len(pairs) - 1, "cpu": [cpu, cpu_after], "memory_mb": memory._asdict()}


async def _open(bench: Bench, peer: Provider, count: int, *, deflate: bool) -> list[Pair]:
    """Open connections one after the other, so that each client is paired with its provider."""
    pairs = []
    for _ in range(count):
        client = await connect(bench.gateway.port, _PATH, token=TOKEN, deflate=deflate)
        if b" 101 " not in client.head.split(b"\r\n", 1)[0]:
            raise RuntimeError(client.head.decode())
        pairs.append(Pair(client, await peer.sockets.get(), Deflate() if deflate else None))
    return pairs


def _megabytes(pid: int) -> float:
    return float(psutil.Process(pid).memory_info().rss) / 1e6


async def _cpu_share(pid: int, seconds: float) -> float:
    """Share of a core that the gateway uses while nothing is sent."""
    before = cpu_seconds(pid)
    await asyncio.sleep(seconds)
    return (cpu_seconds(pid) - before) / seconds


def line(report: dict[str, Any], *, deflate: bool) -> str:
    """Format the figures as one line."""
    memory = Memory(**report["memory_mb"])
    shares = " and ".join(f"{share:.1%}" for share in report["cpu"])
    return (
        f"{report['connections']} connections{', compressed' if deflate else ''}: {memory.idle - memory.before:.0f} MB "
        f"idle, {memory.used - memory.before:.0f} MB after a response on each; {shares} of a core"
    )


def main() -> None:
    """Print the figures without and with compression."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.websockets", description=__doc__)
    parser.add_argument("--connections", type=int, default=1000, help="open connections (1000)")
    parser.add_argument("--seconds", type=float, default=20.0, help="time to measure the CPU (20)")
    options = parser.parse_args()
    for deflate in (False, True):
        print(line(uvloop.run(measure(**vars(options), deflate=deflate)), deflate=deflate), flush=True)


if __name__ == "__main__":
    main()
