"""Requests on their way to the provider: large bodies, kept connections that close, header names, memory and time."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from services.gateway.request.body_budget import Reservation
from shared.accounts_model import Token
from tests.support.gateway_app import System, plain, request, system

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT = b'data: {"choices":[{"delta":{"content":"hi"}}]}\n\n'


def large(size: int) -> bytes:
    return b'{"model":"gpt-4o","stream":true,"stream_options":{"include_usage":true},"x":"%s"}' % (b"y" * size)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("size", [0, 40_000, 255_000, 300_000, 5_000_000])
async def test_a_body_of_any_size_arrives_byte_for_byte(size: int) -> None:
    async with system(max_body_bytes=10 << 20) as gateway:
        for _ in range(2):
            response = await gateway.send(request(body=large(size)), seconds=60)
            assert response.startswith(b"HTTP/1.1 200 OK"), response[:200]
        assert [body == large(size) for _, body in gateway.upstream.requests] == [True, True]
        assert gateway.events.last.request_bytes == len(large(size))


async def test_a_response_that_comes_before_the_body_is_sent_reaches_the_client() -> None:
    served = asyncio.Event()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")  # and nothing of the body
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
        await writer.drain()
        await served.wait()
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0, limit=1024)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with system(max_body_bytes=40 << 20, upstream_openai=url) as gateway:
        response = await gateway.send(request(body=large(30 << 20)), seconds=60)
        assert response.startswith(b"HTTP/1.1 413")
        assert gateway.events.last.status == 413
        served.set()
        await asyncio.sleep(0)
    server.close()


async def test_a_provider_that_takes_no_more_of_a_body_is_a_timeout() -> None:
    served = asyncio.Event()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await served.wait()
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0, limit=1024)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with system(max_body_bytes=40 << 20, upstream_openai=url, idle_timeout=0.5) as gateway:
        response = await gateway.send(request(body=large(30 << 20)), seconds=60)
        assert response.startswith(b"HTTP/1.1 504"), response[:200]
        served.set()
        await asyncio.sleep(0)
    server.close()


async def stale(gateway: System, method: str, body: bytes) -> bytes:
    """A second request on a kept connection that the provider closes as that request reaches it."""
    calls = 0

    async def answer(writer: asyncio.StreamWriter, head: bytes) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            writer.close()
        else:
            writer.write(OK[:-2] if head.startswith(b"HEAD") else OK)

    gateway.upstream.respond = answer
    assert (await gateway.send(request())).startswith(b"HTTP/1.1 200")
    return await gateway.send(request(method, body=body))


@pytest.mark.parametrize(
    ("method", "body"), [("GET", b""), ("HEAD", b""), ("DELETE", b""), ("PUT", b"{}"), ("PUT", b"x" * 400_000)]
)
async def test_a_request_that_changes_nothing_twice_is_sent_again_when_its_kept_connection_closes(
    method: str, body: bytes
) -> None:
    async with system(max_body_bytes=1 << 20) as gateway:
        response = await stale(gateway, method, body)
        assert response.startswith(b"HTTP/1.1 200"), response
        assert [sent for _, sent in gateway.upstream.requests] == [b'{"model":"gpt-4o"}', body, body]
        assert len(gateway.events) == 4


@pytest.mark.parametrize("body", [b'{"model":"gpt-4o"}', large(400_000)])
async def test_a_completion_that_may_have_arrived_is_never_sent_twice(body: bytes) -> None:
    async with system(max_body_bytes=1 << 20) as gateway:
        response = await stale(gateway, "POST", body)
        assert response.startswith(b"HTTP/1.1 502"), response
        assert len(gateway.upstream.requests) == 2
        assert gateway.events.last.status == 502


async def test_a_kept_connection_that_has_closed_meanwhile_costs_no_request() -> None:
    async with system() as gateway:
        gateway.upstream.respond = plain(OK, close=True)
        for _ in range(10):
            assert (await gateway.send(request())).startswith(b"HTTP/1.1 200")
        assert len(gateway.upstream.requests) == 10


@pytest.mark.parametrize("outbound", [False, True], ids=["direct", "through a proxy"])
@pytest.mark.parametrize("form", [False, True], ids=["octets", "form"])
async def test_an_upload_that_streams_is_not_lost_to_a_connection_that_died_while_idle(
    form: bool, outbound: bool
) -> None:
    received: list[int] = []
    idle: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        size = int(head.partition(b"\r\ncontent-length:")[2].split(b"\r\n")[0])
        received.append(len(await reader.readexactly(size)))
        writer.write(OK)
        if b"connection: close" in head:
            writer.close()
            return
        idle.append(writer)
        await reader.read(1)  # a host that has forgotten the connection answers whatever comes with a reset
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    settings: dict[str, Any] = {"outbound_proxy": url, "upstream_openai": "http://provider.invalid"} if outbound else {}
    async with system(**({"upstream_openai": url} | settings)) as gateway:
        body = b"--b\r\nContent-Disposition: form-data; name=model\r\n\r\nw\r\n--b--\r\n" if form else b"\0" * 3_000_000
        kind = b"multipart/form-data; boundary=b" if form else b"audio/wav"
        upload = request(path="/api/proxy/openai/v1/files", body=body, kind=kind)
        for _ in range(2):
            responses = [await gateway.send(request()), await gateway.send(upload)]
            assert [response[:12] for response in responses] == [b"HTTP/1.1 200"] * 2
            for writer in idle:
                writer.transport.abort()  # the pool forgets it: the next plain request is no part of this test
            await asyncio.sleep(0.05)
        assert received == [18, len(body)] * 2
    server.close()


async def test_a_failure_on_a_fresh_connection_is_not_tried_again() -> None:
    async with system() as gateway:
        gateway.upstream.respond = plain(b"", close=True)
        assert (await gateway.send(request("GET", body=b""))).startswith(b"HTTP/1.1 502")
        assert len(gateway.upstream.requests) == 1


async def test_a_request_with_half_a_response_is_not_repeated() -> None:
    async with system() as gateway:
        assert (await gateway.send(request())).startswith(b"HTTP/1.1 200")
        gateway.upstream.respond = plain(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", close=True)
        assert (await gateway.send(request("GET", body=b""))).startswith(b"HTTP/1.1 502")
        assert len(gateway.upstream.requests) == 2


NAMES = b"x-Custom-HEADER: a\r\naccept: application/json\r\nUSER-AGENT: b\r\nX-custom-header: c\r\n"


@pytest.mark.parametrize("size", [0, 40_000, 300_000])
async def test_an_agents_body_goes_directly_onto_a_connection(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The session of the HTTP client costs a fifth of a request's CPU; bodies of agents have 40 to 300 KB."""

    def unexpected(*_: object, **__: object) -> None:
        raise AssertionError("the request went through the session")

    monkeypatch.setattr(aiohttp.ClientSession, "_request", unexpected)
    async with system(max_body_bytes=1 << 20) as gateway:
        assert (await gateway.send(request(body=large(size)))).startswith(b"HTTP/1.1 200")
        assert gateway.upstream.requests[0][1] == large(size)


FORM = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--b--\r\n'


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (b"application/json", b'{"model":"gpt-4o"}'),
        (b"application/json", b'{"model":"gpt-4o","input":"%s"}' % (b"x" * 300_000)),
        (b"multipart/form-data; boundary=b", FORM),
    ],
    ids=["small", "an agent's", "form"],
)
async def test_header_names_go_out_as_the_client_wrote_them(kind: bytes, body: bytes) -> None:
    async with system(max_body_bytes=1 << 20) as gateway:
        assert (await gateway.send(request(body=body, kind=kind, headers=NAMES))).startswith(b"HTTP/1.1 200")
        head, sent = gateway.upstream.requests[0]
        assert sent == body
        for line in (b"x-Custom-HEADER: a", b"accept: application/json", b"USER-AGENT: b"):
            assert b"\r\n" + line + b"\r\n" in head, head
        assert head.lower().count(b"x-custom-header: ") == 2


def unfinished(size: int) -> bytes:
    """A request whose body lacks its last byte."""
    body = large(size)
    return request(body=body[:-1], length=False, headers=b"Content-Length: %d\r\n" % len(body))


async def opened(gateway: System, data: bytes) -> asyncio.StreamWriter:
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(data)
    return writer


def error(answer: bytes) -> str:
    return str(json.loads(answer.removesuffix(b"<EOF>").partition(b"\r\n\r\n")[2])["error"]["code"])


async def test_bodies_beyond_the_budget_get_a_503_while_small_ones_pass() -> None:
    async with system(max_body_bytes=1 << 20, body_budget_bytes=2 << 20, body_timeout=0.5) as gateway:
        held = [await opened(gateway, unfinished(900_000)) for _ in range(2)]
        await until(lambda: gateway.proxy.bodies.reserved_bytes)
        responses = await asyncio.gather(*(gateway.send(request(body=large(900_000))) for _ in range(2)))
        assert gateway.proxy.bodies.reserved_bytes <= 2 << 20
        assert (await gateway.send(request())).startswith(b"HTTP/1.1 200 OK")
        for response in responses:
            status = response.split(b" ")[1]
            assert status == b"200" or (status == b"503" and b"\r\nRetry-After: 1\r\n" in response), response
        await until(lambda: not gateway.proxy.bodies.reserved_bytes)  # those that never came whole have run out of time
        assert (await gateway.send(request(body=large(900_000)))).startswith(b"HTTP/1.1 200 OK")
        for writer in held:
            writer.transport.abort()


async def test_one_accounts_bodies_leave_room_for_anothers() -> None:
    other = "sk-metrion-" + "1" * 32
    async with system(max_body_bytes=1 << 20, body_budget_bytes=2 << 20, body_timeout=20) as gateway:
        gateway.tokens[other] = Token("other", "ci", datetime.now(UTC))
        held = [await opened(gateway, unfinished(900_000)) for _ in range(10)]
        await until(lambda: gateway.proxy.bodies.reserved_bytes)
        sent = request(body=large(900_000), auth=b"Authorization: Bearer " + other.encode() + b"\r\n")
        assert (await gateway.send(sent)).startswith(b"HTTP/1.1 200 OK")
        assert gateway.proxy.bodies.reserved_bytes <= 1 << 20
        for writer in held:
            writer.transport.abort()


async def test_a_body_that_fits_waits_its_turn_and_loses_nothing() -> None:
    async with system(max_body_bytes=1 << 20, body_budget_bytes=2 << 20) as gateway:
        responses = await asyncio.gather(*(gateway.send(request(body=large(900_000)), seconds=60) for _ in range(12)))
        assert [response.split(b" ")[1] for response in responses] == [b"200"] * 12
        assert not gateway.proxy.bodies.reserved_bytes


async def test_bodies_that_wait_take_no_more_memory_than_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    async with system(max_body_bytes=8 << 20, body_budget_bytes=8 << 20, body_timeout=60) as gateway:
        bodies = gateway.proxy.bodies
        requests: list[web.BaseRequest] = []
        reserve = bodies._reserve_for

        async def noted(request: web.BaseRequest, *, account: str) -> Reservation:
            requests.append(request)
            return await reserve(request, account=account)

        async def send(data: bytes) -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            writer.write(data[:1000])
            await until(lambda: len(requests) == 5)
            writer.write(data[1000:])
            status = await asyncio.wait_for(reader.readuntil(b"\r\n"), 60)
            writer.close()
            return status

        monkeypatch.setattr(bodies, "_reserve_for", noted)
        held = await opened(gateway, unfinished(7_900_000))
        await until(lambda: bodies.reserved_bytes)
        sent = [asyncio.create_task(send(request(body=large(3 << 20)))) for _ in range(4)]
        await until(lambda: len(requests) == 5)
        for _ in range(50):  # more would come now
            await asyncio.sleep(0.01)
            assert sum(one.content.total_bytes for one in requests[1:]) <= bodies._waiting_bytes.total() <= 2 << 20
        held.transport.abort()
        assert [status.split(b" ")[1] for status in await asyncio.gather(*sent)] == [b"200"] * 4
        await until(lambda: not bodies.reserved_bytes)


async def test_a_slow_body_that_keeps_coming_outlives_the_deadline_and_a_stalled_one_does_not() -> None:
    async with system(max_body_bytes=1 << 20, body_timeout=2) as gateway:
        data = request(body=large(400_000))
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        for at in range(0, len(data), 70_000):
            writer.write(data[at : at + 70_000])
            await asyncio.sleep(0.5)  # three seconds in all
        assert (await asyncio.wait_for(reader.readuntil(b"\r\n"), 60)).startswith(b"HTTP/1.1 200")
        writer.close()
        assert (await gateway.send(unfinished(400_000))).startswith(b"HTTP/1.1 408")


async def test_a_trickle_does_not_hold_a_body_open() -> None:
    async with system(body_timeout=0.5) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(request(body=b"{", length=False, headers=b"Content-Length: 50000\r\n"))
        answered = asyncio.create_task(reader.readuntil(b"\r\n"))
        async with asyncio.timeout(60):
            while not answered.done():
                writer.write(b" ")
                await asyncio.sleep(0.05)
        assert (await answered).startswith(b"HTTP/1.1 408")
        writer.close()


async def test_an_upload_that_stalls_ends_without_a_whole_request_for_the_provider() -> None:
    form = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n' + b"R" * 200_000
    async with system(body_timeout=0.5) as gateway:
        sent = request(
            path="/api/proxy/openai/v1/audio/transcriptions",
            body=form,
            kind=b"multipart/form-data; boundary=b",
            length=False,
            headers=b"Content-Length: 900000\r\n",
        )
        response = await gateway.send(sent, seconds=60)
        assert response.startswith(b"HTTP/1.1 408"), response[:200]
        assert not gateway.upstream.requests


@pytest.mark.parametrize("kind", ["chunked", "known"])
async def test_a_streams_body_is_free_once_it_is_sent(kind: str) -> None:
    go_on = asyncio.Event()

    async def answer(writer: asyncio.StreamWriter, _: bytes) -> None:
        await go_on.wait()
        writer.write(STREAM + chunk(EVENT) + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")

    body = large(3 << 20)
    framed = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    data = (
        request(body=body)
        if kind == "known"
        else request(body=framed, length=False, headers=b"Transfer-Encoding: chunked\r\n")
    )
    async with system(max_body_bytes=4 << 20, body_budget_bytes=40 << 20) as gateway:
        gateway.upstream.respond = answer
        streams = [asyncio.create_task(gateway.send(data, seconds=60)) for _ in range(4)]
        await until(lambda: len(gateway.upstream.requests) == 4)
        await until(lambda: not gateway.proxy.bodies.reserved_bytes)  # though no answer has begun
        go_on.set()
        assert all(b"[DONE]" in one for one in await asyncio.gather(*streams))


async def test_memory_for_kept_prompts_is_bounded_and_released() -> None:
    go_on = asyncio.Event()

    async def answer(writer: asyncio.StreamWriter, _: bytes) -> None:
        writer.write(STREAM + chunk(EVENT))
        await writer.drain()
        await go_on.wait()
        writer.write(chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")

    async with system(max_body_bytes=4 << 20) as gateway:
        gateway.upstream.respond = answer
        prompts = gateway.proxy.relay.prompts
        prompts._raw_left = 1 << 20
        body = b'{"model":"gpt-4o","stream":true,"messages":[{"role":"user","content":"%s"}]}' % (b"word " * 100_000)
        streams = [asyncio.create_task(gateway.send(request(body=body), seconds=60)) for _ in range(6)]
        await until(lambda: len(gateway.upstream.requests) == 6)
        await until(lambda: gateway.proxy.active == 6 and prompts.kept)
        assert prompts.kept < 2 << 20
        go_on.set()
        await asyncio.gather(*streams)
        assert prompts.kept == 0
        counted = [event.evidence.estimate for event in gateway.events if hasattr(event, "evidence")]
        assert len(counted) == 6
        assert all(one is not None and one.input and one.input > 90_000 for one in counted)


@pytest.mark.parametrize("kind", ["json", "form", "chunked"])
async def test_a_large_upload_of_a_half_closed_client_arrives_whole(kind: str) -> None:
    body = large(3 << 20)
    data = request(body=body)
    if kind == "chunked":
        framed = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        data = request(body=framed, length=False, headers=b"Transfer-Encoding: chunked\r\n")
    if kind == "form":
        body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + body + b"\r\n--b--\r\n"
        path = "/api/proxy/openai/v1/audio/transcriptions"
        data = request(path=path, body=body, kind=b"multipart/form-data; boundary=b")
    async with system(max_body_bytes=4 << 20) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(data)
        writer.write_eof()
        assert (await asyncio.wait_for(reader.read(), 30)).startswith(b"HTTP/1.1 200 OK")
        assert gateway.upstream.requests[0][1] == body
        writer.close()
