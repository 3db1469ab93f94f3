"""A client that leaves: drained for exact usage, or cancelled; bounded either way, and the row says which."""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from services.logger import rows
from services.logger.rows import ResponseRow
from shared.events import CLIENT_CLOSED, COMPLETE
from tests.support import paths
from tests.support.gateway_app import Responder, System, request, system

RECORDINGS = paths.RECORDINGS
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
STREAMS = {
    "openai": ("/api/proxy/openai/v1/chat/completions", "openai/chat_stream_usage.sse", "0.0000093"),
    "anthropic": ("/api/proxy/v1/messages", "anthropic/messages_stream.sse", "0.0060496"),
    "gemini": ("/api/proxy/gemini/v1beta/models/m:streamGenerateContent?alt=sse", "gemini/stream.sse", "0.00038325"),
}


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def stream(file: str, *, pause: float = 0.05, endless: bool = False) -> Responder:
    """A recording, event by event; `endless`: its second event for ever."""

    async def answer(writer: asyncio.StreamWriter, _: bytes) -> None:
        data = (RECORDINGS / file).read_bytes()
        end = b"\r\n\r\n" if b"\r\n\r\n" in data else b"\n\n"
        events = [event + end for event in data.split(end) if event.strip()]
        writer.write(HEAD + chunk(events[0]))
        for event in events[1:]:
            await asyncio.sleep(pause)
            writer.write(chunk(event))
        while endless and not writer.is_closing():
            await asyncio.sleep(pause)
            writer.write(chunk(events[1]))
            await writer.drain()
        writer.write(b"0\r\n\r\n")

    return answer


async def leave(
    gateway: System, path: str, *, after: bytes = b"data: ", body: bytes = b'{"model":"m","stream":true}'
) -> None:
    """Send a request, read until `after` came by, and go."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(request(path=path, body=body))
    got = b""
    while after not in got:
        got += await asyncio.wait_for(reader.read(65536), 60)
    writer.transport.abort()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.02)


async def row_of(gateway: System) -> ResponseRow:
    """The row of the one request, once it is recorded."""
    await until(lambda: len(gateway.events) == 2)
    found = rows.row(gateway.events.last)
    assert isinstance(found, ResponseRow)
    return found


@pytest.mark.parametrize("provider", STREAMS)
async def test_a_stream_whose_client_left_is_drained_and_priced_to_the_cent(provider: str) -> None:
    path, file, cost = STREAMS[provider]
    async with system() as gateway:
        gateway.upstream.respond = stream(file)
        await leave(gateway, path)
        row = await row_of(gateway)
        assert (row.outcome, row.usage_source, row.cost) == (CLIENT_CLOSED, "drained", Decimal(cost))
        await until(lambda: gateway.proxy.active == 0)


@pytest.mark.parametrize("provider", STREAMS)
async def test_cancelling_closes_the_way_to_the_provider_and_the_cost_is_unknown(provider: str) -> None:
    path, file, _ = STREAMS[provider]
    async with system(on_disconnect="cancel", estimate=False) as gateway:
        gateway.upstream.respond = stream(file, endless=True)
        await leave(gateway, path)
        row = await row_of(gateway)
        assert (row.outcome, row.cost) == (CLIENT_CLOSED, None)
        assert row.cost_reason
        await asyncio.wait_for(gateway.upstream.lost.wait(), 60)


@pytest.mark.parametrize("bounds", [{"drain_seconds": 0.3}, {"drain_bytes": 2000}, {"drain_limit": 0}])
async def test_a_drain_ends_at_its_bounds(bounds: dict[str, Any]) -> None:
    path, file, _ = STREAMS["anthropic"]
    async with system(estimate=False, **bounds) as gateway:
        gateway.upstream.respond = stream(file, pause=0.02, endless=True)
        # the terminal event of the recording would end the drain: a client leaves and the stream goes on without one
        cut = (RECORDINGS / file).read_bytes().partition(b"event: message_delta")[0]

        async def answer(writer: asyncio.StreamWriter, _: bytes) -> None:
            writer.write(HEAD + chunk(cut))
            while not writer.is_closing():
                await asyncio.sleep(0.02)
                writer.write(chunk(b'event: ping\ndata: {"type":"ping"}\n\n' * 5))
                await writer.drain()

        gateway.upstream.respond = answer
        await leave(gateway, path)
        row = await row_of(gateway)
        assert (row.outcome, row.usage_source, row.cost) == (CLIENT_CLOSED, "partial", None)
        assert (row.input_tokens, row.output_tokens, row.cost_reason) == (6169, None, "broken_stream")
        await asyncio.wait_for(gateway.upstream.lost.wait(), 60)


async def test_a_client_that_leaves_before_the_first_byte_is_still_recorded_exactly() -> None:
    body = (RECORDINGS / "openai/chat.json").read_bytes()
    left = asyncio.Event()

    async def answer(writer: asyncio.StreamWriter, _: bytes) -> None:
        await left.wait()
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )

    async with system() as gateway:
        gateway.upstream.respond = answer
        _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(request())
        await until(lambda: gateway.upstream.requests)
        writer.transport.abort()
        await writer.wait_closed()
        left.set()
        row = await row_of(gateway)
        assert (row.status, row.cost) == (200, Decimal("0.00000765"))


async def test_cancelled_before_the_first_byte_the_cost_is_unknown_not_zero() -> None:
    async def answer(writer: asyncio.StreamWriter, _: bytes) -> None:
        await asyncio.sleep(30)

    async with system(on_disconnect="cancel", estimate=False) as gateway:
        gateway.upstream.respond = answer
        _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(request())
        await until(lambda: gateway.upstream.requests)
        writer.transport.abort()
        row = await row_of(gateway)
        assert (row.status, row.outcome, row.cost, row.cost_reason) == (
            499,
            CLIENT_CLOSED,
            None,
            "broken_stream",
        )


async def test_a_timeout_has_unknown_cost_and_an_unreachable_provider_none() -> None:
    async def answer(writer: asyncio.StreamWriter, _: bytes) -> None:
        await asyncio.sleep(30)

    async with system(first_byte_timeout=0.2) as gateway:
        gateway.upstream.respond = answer
        await gateway.send(request())
        row = await row_of(gateway)
        assert (row.status, row.cost, row.cost_reason) == (504, None, "broken_stream")
        gateway.events.clear()
        await gateway.send(request(path="/api/proxy/mistral/v1/chat/completions"))
        row = await row_of(gateway)
        assert (row.status, row.cost) == (502, 0)


async def test_a_client_that_has_its_last_event_is_complete_even_if_it_does_not_wait_for_the_end() -> None:
    path, file, cost = STREAMS["anthropic"]
    async with system() as gateway:
        gateway.upstream.respond = stream(file, pause=0)
        await leave(gateway, path, after=b"message_stop")
        row = await row_of(gateway)
        assert (row.outcome, row.usage_source, row.cost) == (COMPLETE, "reported", Decimal(cost))


async def test_the_row_is_written_before_the_client_has_the_terminal_event() -> None:
    path, file, _ = STREAMS["openai"]
    async with system() as gateway:
        gateway.upstream.respond = stream(file, pause=0.02)
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(request(path=path, body=b'{"model":"m","stream":true}'))
        got = b""
        while b"[DONE]" not in got:
            got += await asyncio.wait_for(reader.read(65536), 60)
        assert len(gateway.events) == 2
        assert b'"usage"' not in got
        writer.close()
        await writer.wait_closed()


async def test_a_client_that_reads_no_more_does_not_hold_its_request_for_ever() -> None:
    async def answer(writer: asyncio.StreamWriter, _: bytes) -> None:
        writer.write(HEAD)
        for _number in range(2000):
            writer.write(chunk(b"data: " + b"x" * 60_000 + b"\n\n"))
            await writer.drain()

    async with system(idle_timeout=0.5, drain_limit=0) as gateway:
        gateway.upstream.respond = answer
        _, writer = await asyncio.open_connection("127.0.0.1", gateway.port, limit=1024)
        writer.write(request(body=b'{"model":"m","stream":true}'))
        await until(lambda: gateway.events)
        await until(lambda: gateway.proxy.active == 0)
        assert gateway.events.last.outcome == CLIENT_CLOSED
        writer.transport.abort()
