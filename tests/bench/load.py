"""A lean load generator: raw sockets, keep-alive, so many requests at a time; answers are counted, not understood."""

import asyncio
import statistics
import time
from typing import NamedTuple


class Outcome(NamedTuple):
    """Of one run: median latency and time to first byte in seconds, requests a second."""

    p50: float
    first: float
    rate: float


class Load:
    """The same request over and over."""

    def __init__(self, port: int, path: str, token: str, body: bytes) -> None:
        self._port = port
        self._request = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n"
            "Content-Type: application/json\r\nAccept: application/json\r\nAccept-Encoding: gzip, deflate\r\n"
            "User-Agent: OpenAI/Python 3.54.0\r\nX-Stainless-Lang: python\r\nX-Stainless-Package-Version: 3.54.0\r\n"
            "X-Stainless-OS: Linux\r\nX-Stainless-Arch: x64\r\nX-Stainless-Runtime: CPython\r\n"
            f"X-Stainless-Retry-Count: 0\r\nx-metrion-user: bench\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode() + body
        self._latencies: list[float] = []
        self._firsts: list[float] = []

    async def run(self, requests: int, concurrency: int) -> Outcome:
        """Send `requests` over `concurrency` connections; RuntimeError for an answer that is no 200."""
        began = time.perf_counter()
        left = iter(range(requests))
        await asyncio.gather(*(self._connection(left) for _ in range(concurrency)))
        seconds = time.perf_counter() - began
        return Outcome(statistics.median(self._latencies), statistics.median(self._firsts), requests / seconds)

    async def _connection(self, left: "object") -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 20)
        for _ in left:  # type: ignore[attr-defined]
            start = time.perf_counter()
            writer.write(self._request)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(head.decode())
            lower = head.lower()
            at = lower.find(b"content-length:")
            if at >= 0:
                await reader.readexactly(1)
                self._firsts.append(time.perf_counter() - start)
                await reader.readexactly(int(lower[at + 15 :].split(b"\r\n", 1)[0]) - 1)
            else:
                await self._chunked(reader, start)
            self._latencies.append(time.perf_counter() - start)
        writer.close()

    async def _chunked(self, reader: asyncio.StreamReader, start: float) -> None:
        first = True
        while True:
            size = int(await reader.readuntil(b"\r\n"), 16)
            if first:
                self._firsts.append(time.perf_counter() - start)
                first = False
            await reader.readexactly(size + 2)
            if not size:
                return
