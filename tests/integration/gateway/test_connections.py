"""Odd clients are served, and none of them keeps the gateway from serving the others."""

import asyncio
import contextlib
import gc
import json
import logging
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import prometheus_client
import pytest

from services.gateway.aiohttp_server import ClientConnection
from shared.process import operations
from tests.support import ports, servers
from tests.support.gateway_app import System, plain, request, system

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT = b'data: {"choices":[{"delta":{"content":"hi"}}]}\n\n'
DONE = b"data: [DONE]\n\n"
TWICE = b"User-Agent: google-genai/1\r\nUser-Agent: pydantic-ai/2\r\nContent-Type: text/plain\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def half_closed(gateway: System, data: bytes) -> bytes:
    """Everything that a client gets that closes its sending side right after its request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(data)
    writer.write_eof()
    try:
        return await asyncio.wait_for(reader.read(), 60)
    finally:
        writer.close()


async def slow_stream(writer: asyncio.StreamWriter, _: bytes) -> None:
    writer.write(STREAM + chunk(EVENT))
    await writer.drain()
    await asyncio.sleep(0.3)
    writer.write(chunk(EVENT) + chunk(DONE) + b"0\r\n\r\n")


async def slow(writer: asyncio.StreamWriter, _: bytes) -> None:
    await asyncio.sleep(0.3)
    writer.write(OK)


async def test_a_client_that_closes_its_sending_side_gets_the_whole_response() -> None:
    async with system() as gateway:
        gateway.upstream.respond = slow
        response = await half_closed(gateway, request())
        assert response.startswith(b"HTTP/1.1 200 OK") and response.endswith(b"{}")
        assert gateway.events.last.status == 200
        assert gateway.clients == 0


async def test_a_client_that_closes_its_sending_side_gets_the_whole_stream() -> None:
    async with system() as gateway:
        gateway.upstream.respond = slow_stream
        response = await half_closed(gateway, request(body=b'{"model":"gpt-4o","stream":true}'))
        assert response.count(b'"hi"') == 2 and response.endswith(b"0\r\n\r\n")
        assert gateway.events.last.outcome == "complete"


async def test_cancelling_clients_that_left_does_not_cut_one_that_still_reads() -> None:
    async with system(on_disconnect="cancel") as gateway:
        gateway.upstream.respond = slow
        response = await half_closed(gateway, request())
        assert response.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n").startswith(b"HTTP/1.1 200 OK")
        gateway.upstream.respond = slow_stream
        response = await half_closed(gateway, request(body=b'{"model":"gpt-4o","stream":true}'))
        assert response.endswith(b"0\r\n\r\n")


async def test_pipelined_requests_of_a_half_closed_client_are_all_answered() -> None:
    async with system() as gateway:
        gateway.upstream.respond = slow
        response = await half_closed(gateway, request() + request() + request())
        assert response.count(b"HTTP/1.1 200 OK") == 3


async def test_a_half_closed_client_gets_the_gateways_own_errors_too() -> None:
    async with system() as gateway:
        assert (await half_closed(gateway, request(auth=b""))).startswith(b"HTTP/1.1 401")
        assert (await half_closed(gateway, b"NO HTTP\r\n\r\n")).startswith(b"HTTP/1.1 400")


async def test_incomplete_request_of_a_half_closed_client_is_dropped_at_once() -> None:
    async with system() as gateway:
        data = request(body=b'{"m', length=False, headers=b"Content-Length: 30\r\n")
        assert b" 200 OK" not in await half_closed(gateway, data)
        assert await half_closed(gateway, b"POST / HTTP/1.1\r\nHost: x\r\n") == b""
        assert gateway.upstream.requests == []


async def test_disconnected_client_is_detected_when_writing() -> None:
    async def endless(writer: asyncio.StreamWriter, _: bytes) -> None:
        writer.write(STREAM)
        while not writer.is_closing():
            writer.write(chunk(EVENT))
            await writer.drain()
            await asyncio.sleep(0.02)

    async with system(drain_limit=0) as gateway:
        gateway.upstream.respond = endless
        _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(request(body=b'{"model":"gpt-4o","stream":true}'))
        async with asyncio.timeout(60):
            while not gateway.upstream.requests:
                await asyncio.sleep(0.02)
            writer.close()  # to the gateway this looks as if only the sending side were closed
            while len(gateway.events) < 2:
                await asyncio.sleep(0.02)
        assert gateway.events.last.outcome == "client_closed"


async def test_repeated_user_agent_headers_are_merged_into_one_request() -> None:
    async with system() as gateway:
        response = await gateway.send(request(headers=TWICE))
        assert response.startswith(b"HTTP/1.1 200 OK")
        head, _ = gateway.upstream.requests[0]
        assert b"user-agent: google-genai/1 pydantic-ai/2\r\n" in head.lower()
        assert head.lower().count(b"content-type: ") == 1 and b"content-type: application/json\r\n" in head.lower()
        assert len(gateway.events) == 2


@pytest.mark.parametrize("at", [5, 40, 120, 170, 200, 230])
async def test_a_repeated_header_that_comes_in_pieces_and_behind_other_requests_passes(at: int) -> None:
    data = request() + request(headers=TWICE) + request()
    start = len(request())
    async with system() as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        for piece in (data[: start + at], data[start + at :]):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.05)
        writer.write_eof()
        assert (await asyncio.wait_for(reader.read(), 60)).count(b"HTTP/1.1 200 OK") == 3
        assert len(gateway.upstream.requests) == 3
        writer.close()


async def test_repeated_host_header_is_refused_counted_and_logged_rarely(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, "services.gateway")
    async with system() as gateway:
        for _ in range(5):
            response = await gateway.send(request(headers=b"Host: other\r\n"))
            assert response.startswith(b"HTTP/1.1 400 Bad Request\r\n"), response
            assert (
                json.loads(response.removesuffix(b"<EOF>").partition(b"\r\n\r\n")[2])["error"]["code"]
                == "malformed_request"
            )
        await gateway.send(b"garbage\r\n\r\n")
        refusals = gateway.proxy._metrics.refusals
        assert (refusals["repeated_header"], refusals["malformed_request"]) == (5, 1)
        logged = [record.getMessage() for record in caplog.records if "repeated_header" in record.getMessage()]
        assert len(logged) == 3  # the 1st, 2nd and 4th
        assert gateway.upstream.requests == []


SELF_MADE = [
    request(auth=b""),
    request("TRACE"),
    b"garbage\r\n\r\n",
    request("GET", "/", body=b""),
    request(path="/api/proxy/mistral/v1/chat/completions"),
    request(headers=b"x-metrion-user: " + b"u" * 257 + b"\r\n"),
]


@pytest.mark.parametrize("data", SELF_MADE)
async def test_gateway_responses_have_no_server_header(data: bytes) -> None:
    async with system() as gateway:
        response = await gateway.send(data)
        assert b"\r\nserver:" not in response.lower(), response


async def test_the_providers_server_header_still_passes() -> None:
    async with system() as gateway:
        gateway.upstream.respond = plain(OK.replace(b"\r\n\r\n", b"\r\nServer: cloudflare\r\n\r\n"))
        assert b"\r\nServer: cloudflare\r\n" in await gateway.send(request())


@contextlib.asynccontextmanager
async def operations_port() -> AsyncIterator[int]:
    """A served operations port."""
    port = ports.free_port()
    registry = prometheus_client.CollectorRegistry()
    async with operations("127.0.0.1", port, service="gateway", ready=lambda: "", registry=registry):
        yield port


async def test_the_operations_port_does_not_name_its_software() -> None:
    async with operations_port() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b"\r\nServer:" not in await asyncio.wait_for(reader.read(), 60)
        writer.close()


@contextlib.asynccontextmanager
async def half_requests(gateway: System, count: int) -> AsyncIterator[list[asyncio.StreamReader]]:
    """So many connections that send part of a head and then nothing."""
    pairs = [await asyncio.open_connection("127.0.0.1", gateway.port) for _ in range(count)]
    for _, writer in pairs:
        writer.write(b"POST /api/proxy/openai/v1/chat/completions HTTP/1.1\r\nHost: x\r\n")
    try:
        yield [reader for reader, _ in pairs]
    finally:
        for _, writer in pairs:
            writer.transport.abort()


async def test_half_requests_do_not_keep_others_from_being_served() -> None:
    async with system(max_connections=20) as gateway, half_requests(gateway, 60):
        for _ in range(3):
            assert (await gateway.send(request())).startswith(b"HTTP/1.1 200 OK")
        assert gateway.clients <= 21
        assert gateway.proxy._metrics.refusals["too_many_connections"] >= 40


async def test_idle_connections_make_room_for_new_ones() -> None:
    async with system(max_connections=10) as gateway:
        idle = []
        for _ in range(15):
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            writer.write(request(auth=b""))
            assert (await asyncio.wait_for(reader.readuntil(b"\r\n"), 60)).startswith(b"HTTP/1.1 401")
            idle.append(writer)
        assert (await gateway.send(request())).startswith(b"HTTP/1.1 200 OK")
        for writer in idle:
            writer.transport.abort()


async def test_clients_beyond_the_connection_limit_are_told_to_retry() -> None:
    async with system(max_connections=2) as gateway:

        async def hang(writer: asyncio.StreamWriter, _: bytes) -> None:
            await asyncio.Event().wait()

        gateway.upstream.respond = hang
        busy = []
        for _ in range(2):
            _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            writer.write(request())
            busy.append(writer)
        async with asyncio.timeout(60):
            while gateway.proxy.active < 2:
                await asyncio.sleep(0.02)
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        response = await asyncio.wait_for(reader.read(), 60)
        assert response.startswith(b"HTTP/1.1 503 Service Unavailable\r\n") and b"\r\nRetry-After: 1\r\n" in response
        assert json.loads(response.partition(b"\r\n\r\n")[2])["error"]["code"] == "too_many_connections"
        for one in (*busy, writer):
            one.transport.abort()


async def test_a_head_that_does_not_arrive_in_time_is_a_408_and_counted() -> None:
    async with system(header_timeout=0.4) as gateway, half_requests(gateway, 3) as readers:
        for reader in readers:
            response = await asyncio.wait_for(reader.read(), 60)
            assert response.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
        assert gateway.proxy._metrics.refusals["header_timeout"] == 3


async def test_headers_byte_by_byte_do_not_outlive_the_deadline() -> None:
    async with system(header_timeout=0.4) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(60):
                for byte in b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 1000:
                    writer.write(bytes([byte]))
                    await writer.drain()
                    await asyncio.sleep(0.02)
                    if reader.at_eof():
                        break
        assert gateway.clients == 0
        assert gateway.proxy._metrics.refusals["header_timeout"] == 1
        writer.close()


async def test_a_kept_connection_has_its_own_deadline_for_the_next_head() -> None:
    async with system(header_timeout=0.4) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        for _ in range(2):
            writer.write(request())
            assert (await asyncio.wait_for(reader.readuntil(b"{}"), 60)).startswith(b"HTTP/1.1 200 OK")
            await asyncio.sleep(0.8)  # idle for longer than a head may take: that is not a head
        writer.write(b"GET / HTTP/1.1\r\n")
        assert (await asyncio.wait_for(reader.read(), 60)).startswith(b"HTTP/1.1 408")
        writer.close()


async def test_an_idle_connection_is_closed_after_its_deadline() -> None:
    async with system(keepalive_timeout=0.4) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(request())
        response = await asyncio.wait_for(reader.read(), 60)
        assert response.endswith(b"{}")
        writer.close()


async def test_a_request_that_takes_long_is_not_cut_by_the_header_deadline() -> None:
    async def answer(writer: asyncio.StreamWriter, _: bytes) -> None:
        await asyncio.sleep(1.2)
        writer.write(OK)

    async with system(header_timeout=0.3) as gateway:
        gateway.upstream.respond = answer
        assert (await gateway.send(request())).startswith(b"HTTP/1.1 200 OK")


async def test_the_operations_port_answers_behind_any_number_of_half_requests() -> None:
    async with operations_port() as port:
        before = open_files()
        half = [await asyncio.open_connection("127.0.0.1", port) for _ in range(150)]
        for _, writer in half:
            writer.write(b"GET /healthz HTTP/1.1\r\n")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await asyncio.wait_for(reader.read(), 60)).startswith(b"HTTP/1.1 200 OK")
        assert open_files() - before < 2 * 150 - 50  # both sides are files of this process
        for one in (*(writer for _, writer in half), writer):
            one.transport.abort()


async def test_operations_port_closes_connections_that_send_no_complete_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shared.process._OPERATIONS_IDLE_SECONDS", 0.3)
    async with operations_port() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /healthz HTTP/1.1\r\n")
        assert await asyncio.wait_for(reader.read(), 60) == b""
        writer.close()


@contextlib.contextmanager
def deaf(gateway: System, data: bytes) -> Iterator[socket.socket]:
    """A client that sends a request and reads nothing."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", gateway.port))
        client.sendall(data)
        yield client


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(servers.DEADLINE):
        while not condition():
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("size", [6_000_000, 12_000_000])
async def test_response_that_the_client_never_reads_is_abandoned(size: int) -> None:
    body = b'{"x":"%s"}' % (b"y" * size)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with system(idle_timeout=0.6) as gateway:
        gateway.upstream.respond = plain(head + body)
        with deaf(gateway, request()):
            await until(lambda: gateway.events)
            await until(lambda: gateway.clients == 0)
            await until(lambda: gateway.proxy.active == 0)


async def test_requests_with_unread_responses_do_not_accumulate() -> None:
    body = b'{"x":"%s"}' % (b"y" * 200_000)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with system(idle_timeout=0.6) as gateway:
        gateway.upstream.respond = plain(head + body)
        with deaf(gateway, request() * 60):  # pipelined: each answer is one write, and the last ones wait
            await until(lambda: gateway.events)
            await until(lambda: gateway.clients == 0)


async def test_a_client_that_reads_slowly_is_not_cut() -> None:
    body = b'{"x":"%s"}' % (b"y" * 8_000_000)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with system(idle_timeout=3) as gateway:
        gateway.upstream.respond = plain(head + body)
        loop = asyncio.get_running_loop()
        with deaf(gateway, request()) as client:
            client.setblocking(False)
            for _ in range(45):  # for longer than an answer may stay unread
                assert await asyncio.wait_for(loop.sock_recv(client, 4096), 60)
                await asyncio.sleep(0.1)


async def test_closed_connection_leaves_no_reference_cycles() -> None:
    async with system() as gateway:
        await gateway.send(request())
        gc.collect()
        gc.disable()
        try:
            for _ in range(20):
                await gateway.send(request())
            await until(lambda: gateway.clients == 0)
            left = sum(isinstance(one, ClientConnection) for one in gc.get_objects())
        finally:
            gc.enable()
        assert left <= 1
