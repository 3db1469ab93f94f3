"""Lean load generator that measures latencies and counts bytes."""

import asyncio
import itertools
import statistics
import time
from typing import NamedTuple, cast

_END = b"\r\n0\r\n\r\n"  # of a chunked body
# Headers of OpenAI's Python SDK.
SDK = (
    "Content-Type: application/json\r\nAccept: application/json\r\nAccept-Encoding: gzip, deflate\r\n"
    "User-Agent: OpenAI/Python 3.54.0\r\nX-Stainless-Lang: python\r\nX-Stainless-Package-Version: 3.54.0\r\n"
    "X-Stainless-OS: Linux\r\nX-Stainless-Arch: x64\r\nX-Stainless-Runtime: CPython\r\nX-Stainless-Retry-Count: 0\r\n"
)
_LIMIT = 60.0  # seconds for one run: a peer that hangs is an error, not a figure


class Outcome(NamedTuple):
    """Of one run: latency and time to the body's first byte in seconds, answers a second, reads an answer."""

    p50: float
    p95: float
    first_p50: float
    first_p95: float
    rate: float
    reads: float


class Load:
    """The same request over and over, as an SDK would send it; or several in turn, given as their bodies.

    `headers` are sent in addition, `client` in place of the SDK's own.
    """

    def __init__(self, port: int, path: str, token: str, *bodies: bytes, headers: str = "", client: str = SDK) -> None:
        self.port = port
        self.requests = [_request(port, path, token, body, headers=client + headers) for body in bodies]

    async def run(self, requests: int, concurrency: int) -> Outcome:
        """Send `requests` over `concurrency` connections; RuntimeError for an answer that is no 200."""
        run = _Run(self, requests)
        loop = asyncio.get_running_loop()
        began = time.perf_counter()
        connections = [
            await loop.create_connection(lambda: _Connection(run), "127.0.0.1", self.port) for _ in range(concurrency)
        ]
        try:
            async with asyncio.timeout(_LIMIT):
                await run.done
        finally:
            for transport, _ in connections:
                transport.close()
        seconds = time.perf_counter() - began
        whole, first = (sorted(times) for times in (run.latencies, run.firsts))
        return Outcome(_p50(whole), _p95(whole), _p50(first), _p95(first), requests / seconds, run.reads / requests)

    async def once(self) -> bytes:
        """The body of one answer, chunks joined."""
        run = _Run(self, 1)
        transport, connection = await asyncio.get_running_loop().create_connection(
            lambda: _Connection(run), "127.0.0.1", self.port
        )
        connection.kept = bytearray()
        await asyncio.wait_for(run.done, _LIMIT)
        transport.close()
        head, _, body = bytes(connection.kept).partition(b"\r\n\r\n")
        return _joined(body) if b"chunked" in head.lower() else body


def _request(port: int, path: str, token: str, body: bytes, *, headers: str) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n"
        f"x-metrion-user: bench\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class _Run:
    """What the connections of one run share."""

    def __init__(self, load: Load, requests: int) -> None:
        self.requests, self.unsent, self.open = itertools.cycle(load.requests), requests, requests
        self.latencies: list[float] = []
        self.firsts: list[float] = []
        self.reads = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def fail(self, reason: str) -> None:
        if not self.done.done():
            self.done.set_exception(RuntimeError(reason))


class _Connection(asyncio.Protocol):
    """One keep-alive connection, one request at a time."""

    kept: bytearray | None = None
    _head: bytes | None
    _waits = False  # for an answer or its end: a server may close what is idle

    def __init__(self, run: _Run) -> None:
        self._run = run

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's own is no subclass
        asyncio.get_running_loop().call_soon(self._send)

    def _send(self) -> None:
        if self._run.unsent:
            self._run.unsent -= 1
            self._waits = True
            self._head, self._left, self._tail = b"", -1, b""
            self._first = False
            self._sent = time.perf_counter()
            self._transport.write(next(self._run.requests))

    def data_received(self, data: bytes) -> None:
        run = self._run
        run.reads += 1
        if self.kept is not None:
            self.kept += data
        if self._head is not None:
            self._head += data
            head, found, data = self._head.partition(b"\r\n\r\n")
            if not found:
                return
            self._head = None
            if not head.startswith(b"HTTP/1.1 200"):
                run.fail(head.decode("latin-1") + data.decode("latin-1"))
                return
            length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
            self._left = int(length) if length else -1
        if data and not self._first:
            self._first = True
            run.firsts.append(time.perf_counter() - self._sent)
        if self._left >= 0:
            self._left -= len(data)
            ended = self._left == 0
        else:
            self._tail = (self._tail + data)[-len(_END) :]
            ended = self._tail == _END
        if ended:
            self._ended()

    def _ended(self) -> None:
        run = self._run
        self._waits = False
        run.latencies.append(time.perf_counter() - self._sent)
        run.open -= 1
        if run.unsent:
            self._send()
        elif not run.open and not run.done.done():
            run.done.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if self._waits:
            self._run.fail(f"the connection was lost: {error}")


def _joined(body: bytes) -> bytes:
    """The data of a chunked body."""
    parts: list[bytes] = []
    while True:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            return b"".join(parts)
        parts.append(body[:length])
        body = body[length + 2 :]


def _p50(times: list[float]) -> float:
    return statistics.median(times)


def _p95(times: list[float]) -> float:
    return times[min(len(times) - 1, int(len(times) * 0.95))]
