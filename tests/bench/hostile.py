"""`make bench-hostile`: CPU that the heaviest single requests cost the gateway.

Gateway, provider and client share one process and one event loop, so that passing the same number of harmless bytes
(`application/octet-stream`) can be subtracted. CPU time is measured, for it depends little on what else the machine
does; the other client, a process of its own, measures what it waits.
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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection

import brotli
import zstandard

from tests.support import gateway_app

MB = 1 << 20
PIECE = 256 << 10
CHAT = "/api/proxy/openai/v1/chat/completions"
SPEECH = "/api/proxy/openai/v1/audio/transcriptions"
TELEMETRY = "/api/proxy/metrion/otlp/v1/logs"
RESULTS = "/api/proxy/anthropic/v1/messages/batches/msgbatch_1/results"
OK = b'{"id":"x","model":"gpt-4o","usage":{"prompt_tokens":1,"completion_tokens":1}}'


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
    Case("request: 30 MB of {}", lambda: b'{"model":"gpt-4o","messages":[' + b"{}," * (10 * MB) + b"1]}", request=True),
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
    """`cpu`: seconds of the process; `held`: the longest time that the event loop ran without a pause, in CPU seconds."""

    cpu: float
    held: float
    waited: float  # the worst that the other client saw
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


async def measure(case: Case, heavy: bytes) -> Cost:
    """Send one request of this kind through a new gateway."""
    async with gateway_app.system(max_body_bytes=64 * MB) as system:
        if not case.request:
            system.upstream.respond = _response(heavy, case)
        body = (
            heavy
            if case.request
            else b'{"model":"gpt-4o","stream":true,"messages":[]}'
            if case.method == "POST"
            else b""
        )
        kind = case.kind if case.request else "application/json"
        more = f"Content-Encoding: {case.encoding}\r\n" if case.encoding and case.request else ""
        more += "Connection: close\r\n"
        head = gateway_app.request(
            case.method, case.path, body=b"", headers=more.encode(), kind=kind.encode(), length=False
        )
        head = head.replace(b"\r\n\r\n", b"\r\nContent-Length: %d\r\n\r\n" % len(body), 1)
        worst, context = [0.0], multiprocessing.get_context("fork")
        here, there = context.Pipe()
        other = context.Process(target=_other_client, args=(system.port, there), daemon=True)
        other.start()
        here.recv()
        watching = asyncio.create_task(_watch(worst))
        await asyncio.sleep(0.05)
        worst[0], began = 0.0, time.process_time()
        status = await _ask(system.port, head, body)
        await asyncio.sleep(0)
        cpu = time.process_time() - began
        watching.cancel()
        here.send("stop")
        waited = await asyncio.to_thread(here.recv)
        other.join()
        return Cost(cpu, worst[0], waited, status)


def harmless(case: Case, size: int) -> tuple[Case, bytes]:
    """The same number of bytes, of a kind that nobody reads."""
    return Case(
        case.name,
        bytes,
        SPEECH if case.path == TELEMETRY else case.path,
        case.method,
        request=case.request,
        kind="application/octet-stream",
        chunk=case.chunk,
    ), b"x" * size


def report(*, repeat: int, only: str) -> bool:
    """Print the table; whether each kind costs at most 20 ms beyond its bytes."""
    print(f"{'kind':34} {'MB':>6} {'CPU ms':>8} {'bytes ms':>8} {'beyond':>8} {'held':>7} {'other ms':>8}  response")
    fine = True
    for case in CASES:
        if only not in case.name:
            continue
        heavy = case.make()
        found = [asyncio.run(measure(case, heavy)) for _ in range(repeat)]
        plain = [asyncio.run(measure(*harmless(case, len(heavy)))) for _ in range(repeat)]
        best, base = min(found, key=lambda cost: cost.cpu), min(plain, key=lambda cost: cost.cpu)
        beyond = best.cpu - base.cpu
        fine &= beyond <= 0.02
        print(
            f"{case.name:34} {len(heavy) / MB:6.1f} {best.cpu * 1e3:8.0f} {base.cpu * 1e3:8.0f} {beyond * 1e3:8.0f}"
            f" {best.held * 1e3:7.0f} {best.waited * 1e3:8.0f}  {best.outcome[9:]}",
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
