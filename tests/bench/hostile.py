"""`make bench-hostile`: CPU that the heaviest single requests cost the gateway.

A bare aiohttp proxy, which reads the same request whole and relays the same response, is what reading the bytes costs;
what the gateway takes beyond it is its own. Only the proxy's process is measured: provider and client are another one.
CPU time depends little on what else the machine does; one more client, a third process, measures what it waits.
"""

import argparse
import asyncio
import gzip
import json
import multiprocessing
import socket
import sys
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from multiprocessing.connection import Connection
from typing import Any

import brotli
import uvloop
import zstandard
from aiohttp import ClientSession, web

from shared.accounts_model import Token
from shared.limits.model import Limit
from tests.support import gateway_app

MB = 1 << 20
PIECE = 256 << 10
CHAT = "/api/proxy/openai/v1/chat/completions"
SPEECH = "/api/proxy/openai/v1/audio/transcriptions"
TELEMETRY = "/api/proxy/metrion/otlp/v1/logs"
RESULTS = "/api/proxy/anthropic/v1/messages/batches/msgbatch_1/results"
RESPONSES = "/api/proxy/openai/v1/responses"
SYNTHESIS = "/api/proxy/openai/v1/audio/speech"
EMBEDDINGS = "/api/proxy/openai/v1/embeddings"
NOW = datetime.now(UTC)
CONFINED = "sk-metrion-" + "1" * 32
LIMITED = "sk-metrion-" + "2" * 32
TOKENS = {
    CONFINED: Token("acme", "confined", NOW, models=("gpt-4o",)),
    LIMITED: Token("limited", "limited", NOW),
}
LIMITS = (
    Limit("limited", "rate", NOW, Decimal(10**9), measure="tokens"),
    Limit("limited", "budget", NOW, Decimal(10**9), measure="tokens", period="month"),
)


@dataclass(frozen=True)
class Case:
    """One request and the response to it; what is heavy is made when it is needed."""

    name: str
    make: Callable[[], bytes]
    path: str = CHAT
    method: str = "POST"
    request: bool = False  # the heavy bytes are the request's, otherwise the response's
    kind: str = "application/json"
    encoding: str = ""
    chunk: int = 0  # bytes of a chunk, where the response is sent in chunks
    token: str = gateway_app.TOKEN
    cached: bool = False


def _deep(size: int) -> bytes:
    return b'{"input":' + b"[" * (size // 2) + b"]" * (size // 2) + b"}"


def _disposition() -> bytes:
    part = b'--x\r\ncontent-disposition: form-data; name="a\r\n' + b"content-disposition:" * 90 + b"\r\n\r\n1\r\n"
    return part * (4 * MB // len(part)) + b"--x--\r\n"


def _results(usage: bytes, count: int) -> bytes:
    line = (
        b'{"custom_id":"a","result":{"type":"succeeded","message":{"model":"claude-sonnet-4-5","usage":%b}}}\n' % usage
    )
    return line * count


def _names() -> bytes:
    return json.dumps(
        {"input_tokens": 1, "output_tokens": 1, **{f"name_{number}": number for number in range(10_000)}}
    ).encode()


def _bomb(pack: Callable[[bytes], bytes]) -> Callable[[], bytes]:
    return lambda: pack(b'{"model":"gpt-4o","input":"' + b" " * (256 * MB) + b'"}')


def _deflate(data: bytes) -> bytes:
    return zlib.compress(data, 9)


def _parts() -> bytes:
    part = b'--x\r\nContent-Disposition: form-data; name="f%d"\r\n\r\n1\r\n'
    return b"".join(part % number for number in range(100_000)) + b"--x--\r\n"


def _tool_calls() -> bytes:
    call = b'{"role":"assistant","tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"a","content":"x"},'
    return b'{"model":"gpt-4o","stream":true,"messages":[' + call * 100_000 + b'{"role":"user","content":"x"}]}'


def _telemetry() -> bytes:
    attributes = b"\x32\x00" * 32_000  # empty ones
    export = b"\n\x8a\xf4\x03\x12\x86\xf4\x03\x12\x82\xf4\x03\x32\x00" + attributes
    return export * (4 * MB // len(export))


def _text() -> bytes:
    return b'{"model":"gpt-4o","max_tokens":10,"messages":[{"role":"user","content":"' + b"x" * (30 * MB) + b'"}]}'


def _objects() -> bytes:
    return b'{"model":"gpt-4o","max_tokens":10,"messages":[' + b"{}," * (10 * MB) + b"1]}"


def _line() -> bytes:
    text = b"x" * (100 * MB)
    return (
        b'{"custom_id":"a","result":{"type":"succeeded","message":{"model":"claude-sonnet-4-5","content":[{"type":"text","text":"%b"}],"usage":{"input_tokens":3,"output_tokens":4}}}}\n'
        % text
    )


CASES = (
    Case("form: 4 MB of delimiters", lambda: b"\r\n--x" * (4 * MB // 5), SPEECH, request=True, kind="multipart/form-data; boundary=x"),
    Case("form: parts full of headers", _disposition, SPEECH, request=True, kind="multipart/form-data; boundary=x"),
    Case("form: 100,000 parts", _parts, SPEECH, request=True, kind="multipart/form-data; boundary=x"),
    Case("request: 100,000 tool calls", _tool_calls, request=True),
    Case("telemetry: attributes", _telemetry, TELEMETRY, request=True, kind="application/x-protobuf"),
    Case("request: 30 MB, stream_options", lambda: b'{"model":"gpt-4o","stream":true,"stream_options":{},"messages":[' + b'{"role":"user","content":"hello"},' * (30 * MB // 34) + b"1]}", request=True),
    Case("request: 30 MB of {}", _objects, request=True),
    Case("request: 30 MB of numbers", lambda: b'{"model":"gpt-4o","input":[' + b"1," * (15 * MB) + b"1]}", EMBEDDINGS, request=True),
    Case("request: 30 MB text", _text, request=True),
    Case("request: 30 MB text, cached", _text, request=True, cached=True),
    Case("request: 30 MB text, limits", _text, request=True, token=LIMITED),
    Case("request: 30 MB of {}, limits", _objects, request=True, token=LIMITED),
    Case("request: 30 MB text, confined", _text, request=True, token=CONFINED),
    Case("request: 30 MB of {}, confined", _objects, request=True, token=CONFINED),
    Case("request: 30 MB of tools", lambda: b'{"model":"gpt-4o","input":"x","tools":[' + b"{}," * (10 * MB) + b'{"type":"image_generation"}]}', RESPONSES, request=True),
    Case("request: 30 MB to be spoken", lambda: b'{"model":"tts-1","input":"' + b"x" * (30 * MB) + b'"}', SYNTHESIS, request=True),
    Case("request: nested, 8 MB", lambda: _deep(8 * MB), request=True),
    Case("request: gzip bomb", _bomb(gzip.compress), request=True, encoding="gzip"),
    Case("request: br bomb", _bomb(lambda data: brotli.compress(data, quality=3)), request=True, encoding="br"),
    Case("request: zstd bomb", _bomb(zstandard.compress), request=True, encoding="zstd"),
    Case("JSONL: 40,000 lines with usage", lambda: _results(b'{"input_tokens":3,"output_tokens":4}', 40_000), RESULTS, "GET", kind="application/x-jsonl"),
    Case("JSONL: usage of 10,000 names", lambda: _results(_names(), 100), RESULTS, "GET", kind="application/x-jsonl"),
    Case("JSONL: one line of 100 MB", _line, RESULTS, "GET", kind="application/x-jsonl"),
    Case("JSON: 8 MB array of {}", lambda: b"[" + b"{}," * (8 * MB // 3 - 1) + b"{}]"),
    Case("JSON: usage of 10,000 names", lambda: b'{"model":"gpt-4o","usage":' + _names() + b"}"),
    Case("JSON: nested, 8 MB", lambda: _deep(8 * MB)),
    Case("JSON: 40 MB document", lambda: b'{"model":"gpt-4o","data":[' + b"{}," * (13 * MB) + b'1],"usage":{"prompt_tokens":1,"completion_tokens":1}}'),
    Case("JSON: 40 MB of numbers", lambda: b'{"model":"gpt-4o","data":[' + b"1," * (20 * MB) + b'1],"usage":{"prompt_tokens":1,"completion_tokens":1}}'),
    Case("SSE: 100 MB without line end", lambda: b"data: " + b"x" * (100 * MB), kind="text/event-stream"),
    Case("SSE: 30 MB of usage events", lambda: b'data: {"usage":{"prompt_tokens":1}}\n\n' * (30 * MB // 37), kind="text/event-stream"),
    Case("SSE: a million tiny events", lambda: b"data:{}\n\n" * MB, kind="text/event-stream"),
    Case("SSE: 1 MB in chunks of a byte", lambda: b'data: {"choices":[]}\n\n' * (MB // 22), kind="text/event-stream", chunk=1),
    Case("SSE: 30 MB of empty lines", lambda: b"\n" * (30 * MB), kind="text/event-stream"),
    Case("SSE: 30 MB of CR", lambda: b"\r" * (30 * MB), kind="text/event-stream"),
    Case("SSE: 30 MB of data lines", lambda: b"data:x\n" * (30 * MB // 7), kind="text/event-stream"),
    Case("response: gzip bomb", _bomb(gzip.compress), encoding="gzip"),
    Case("response: deflate bomb", _bomb(_deflate), encoding="deflate"),
    Case("response: br bomb", _bomb(lambda data: brotli.compress(data, quality=3)), encoding="br"),
    Case("response: zstd bomb", _bomb(zstandard.compress), encoding="zstd"),
)  # fmt: skip


@dataclass(frozen=True)
class Cost:
    """`cpu`: seconds of the proxy's process; `held`: the longest time that its event loop ran without a pause, in CPU
    seconds; `waited`: the longest time that the other client waited."""

    cpu: float
    held: float
    waited: float
    outcome: str


def _pieces(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), PIECE):
        yield data[start : start + PIECE]


def _response(data: bytes, case: Case) -> gateway_app.Responder:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {case.kind}\r\n"
    head += f"Content-Encoding: {case.encoding}\r\n" if case.encoding else ""
    if chunk := case.chunk:
        head += "Transfer-Encoding: chunked\r\n"
        pieces = (data[start : start + chunk] for start in range(0, len(data), chunk))
        data = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    else:
        head += f"Content-Length: {len(data)}\r\n"

    async def answer(writer: asyncio.StreamWriter, _: bytes) -> None:
        writer.write(f"{head}\r\n".encode())
        for piece in _pieces(data):
            writer.write(piece)
            await writer.drain()

    return answer


async def _ask(port: int, head: bytes, body: bytes) -> str:
    """Send a request and read its response; its status line."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=MB)

    async def send() -> None:
        writer.write(head)
        for piece in _pieces(body):
            writer.write(piece)
            await writer.drain()

    sending = asyncio.create_task(send())
    status = (await reader.readline()).decode().strip()
    while await reader.read(PIECE):
        pass
    sending.cancel()
    writer.close()
    return status


def _request(case: Case, heavy: bytes) -> tuple[bytes, bytes]:
    """Head and body of a case's request."""
    small = b'{"model":"gpt-4o","stream":true,"messages":[]}' if case.method == "POST" else b""
    body = heavy if case.request else small
    kind = case.kind if case.request else "application/json"
    more = f"Content-Encoding: {case.encoding}\r\n" if case.encoding and case.request else ""
    more += "x-metrion-cache: true\r\n" if case.cached else ""
    more += f"Connection: close\r\nContent-Length: {len(body)}\r\n"
    return gateway_app.request(
        case.method,
        case.path,
        body=b"",
        headers=more.encode(),
        auth=f"Authorization: Bearer {case.token}\r\n".encode(),
        kind=kind.encode(),
        length=False,
    ), body


def _peers(case: Case, heavy: bytes, pipe: Connection) -> None:
    """Provider and client: send the provider's port, then ask the proxy at each port received, until it is 0."""

    async def run() -> None:
        provider = gateway_app.RawProvider()
        if not case.request:
            provider.respond = _response(heavy, case)
        async with await asyncio.start_server(provider.accept, "127.0.0.1", 0) as server:
            pipe.send(server.sockets[0].getsockname()[1])
            while port := await asyncio.to_thread(pipe.recv):
                pipe.send(await _ask(port, *_request(case, heavy)))
            await provider.close()

    asyncio.run(run())


def _other_client(port: int, pipe: Connection) -> None:
    """Ask for a page that needs no provider, again and again, until told to stop; report the worst wait in seconds."""
    message = f"GET /api/proxy/nothing HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {gateway_app.TOKEN}\r\n\r\n".encode()
    worst = 0.0
    pipe.send(0.0)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        while not pipe.poll():
            began = time.monotonic()
            connection.sendall(message)
            if not connection.recv(65536):
                break
            worst = max(worst, time.monotonic() - began)
            time.sleep(0.002)
    pipe.send(worst)


async def _watch(worst: list[float]) -> None:
    """Note the longest run of the event loop without a pause, in CPU time of its thread."""
    before = time.thread_time()
    while True:
        await asyncio.sleep(0)
        now = time.thread_time()
        worst[0] = max(worst[0], now - before)
        before = now
        await asyncio.sleep(0.0005)
        before = time.thread_time() if time.thread_time() - before < 0.0005 else before


@asynccontextmanager
async def _gateway(upstream: str, case: Case) -> AsyncIterator[int]:
    """Run a gateway; its port."""
    upstreams: dict[str, Any] = {f"upstream_{name}": upstream for name in ("anthropic", "openai")}
    async with gateway_app.system(max_body_bytes=64 * MB, **upstreams) as system:
        system.tokens.update(TOKENS)
        system.tokens.limited = LIMITS if case.token == LIMITED else ()
        yield system.port


@asynccontextmanager
async def _bare(upstream: str, _: Case) -> AsyncIterator[int]:
    """Run the bare proxy: whole requests, responses as they come, nothing read; its port."""
    async with ClientSession(auto_decompress=False, read_bufsize=PIECE) as session:

        async def forward(request: web.BaseRequest) -> web.StreamResponse:
            if request.path.endswith("/nothing"):
                return web.Response(status=404)
            body = await request.read()
            async with session.request(request.method, upstream + request.path, data=body) as answer:
                kept = {
                    name: answer.headers[name] for name in ("Content-Type", "Content-Length") if name in answer.headers
                }
                response = web.StreamResponse(status=answer.status, headers=kept)
                await response.prepare(request)
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
                await response.write_eof()
                return response

        def build(*parts: object) -> web.BaseRequest:
            return web.BaseRequest(*parts, asyncio.get_running_loop(), client_max_size=64 * MB)  # type: ignore[arg-type]

        server = web.Server(forward, request_factory=build, access_log=None, auto_decompress=False)
        runner = web.ServerRunner(server, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1]
        await runner.cleanup()


Proxy = Callable[[str, Case], AbstractAsyncContextManager[int]]


async def measure(case: Case, proxy: Proxy, peers: Connection, provider: int) -> Cost:
    """Send one request through a new proxy to measure its CPU time, and one more to measure who waits."""
    context = multiprocessing.get_context("fork")
    async with proxy(f"http://127.0.0.1:{provider}", case) as port:
        here, there = context.Pipe()
        other = context.Process(target=_other_client, args=(port, there), daemon=True)

        async def ask() -> str:
            peers.send(port)
            return str(await asyncio.to_thread(peers.recv))

        began = time.process_time()
        status = await ask()
        cpu = time.process_time() - began
        other.start()
        here.recv()
        worst = [0.0]
        watching = asyncio.create_task(_watch(worst))
        await asyncio.sleep(0.05)
        worst[0] = 0.0
        await ask()
        await asyncio.sleep(0)
        watching.cancel()
        here.send("stop")
        waited = await asyncio.to_thread(here.recv)
        other.join()
        return Cost(cpu, worst[0], waited, status)


def compare(case: Case, heavy: bytes, *, repeat: int) -> tuple[Cost, Cost]:
    """(Least cost of the gateway, least cost of the bare proxy), each of `repeat` alternating runs."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    peers = context.Process(target=_peers, args=(case, heavy, there), daemon=True)
    peers.start()
    provider = here.recv()
    costs: tuple[list[Cost], list[Cost]] = [], []
    for _ in range(repeat):
        for proxy, found in zip((_gateway, _bare), costs, strict=True):
            found.append(uvloop.run(measure(case, proxy, here, provider)))
    here.send(0)
    peers.join()
    gateway, bare = map(_least, costs)
    return gateway, bare


def _least(costs: list[Cost]) -> Cost:
    return Cost(
        min(cost.cpu for cost in costs),
        min(cost.held for cost in costs),
        min(cost.waited for cost in costs),
        costs[0].outcome,
    )


def report(*, repeat: int, only: str) -> bool:
    """Print the table; whether each kind costs at most 20 ms beyond its bytes."""
    print(
        f"{'kind':34} {'MB':>6} {'CPU ms':>7} {'bare':>6} {'beyond':>7} {'held':>6} {'bare':>6} {'other ms':>8}  response"
    )
    fine = True
    for case in CASES:
        if only not in case.name:
            continue
        heavy = case.make()
        gateway, bare = compare(case, heavy, repeat=repeat)
        beyond = gateway.cpu - bare.cpu
        fine &= beyond <= 0.02
        print(
            f"{case.name:34} {len(heavy) / MB:6.1f} {gateway.cpu * 1e3:7.1f} {bare.cpu * 1e3:6.1f} {beyond * 1e3:7.1f}"
            f" {gateway.held * 1e3:6.1f} {bare.held * 1e3:6.1f} {gateway.waited * 1e3:8.1f}  {gateway.outcome[9:]}",
            flush=True,
        )
    return fine


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=3, help="the least of so many runs counts (default 3)")
    parser.add_argument("--only", default="", help="kinds whose name holds this")
    parser.add_argument(
        "--strict", action="store_true", help="exit status 1 if a kind costs more than 20 ms beyond its bytes"
    )
    options = parser.parse_args()
    sys.exit(0 if report(repeat=options.repeat, only=options.only) or not options.strict else 1)
