"""Idle provider connections are used again while they last, and closed when they don't."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import ClientRequest, ClientTimeout, TCPConnector
from aiohttp.connector import Connection
from yarl import URL

from services.gateway.upstream.idle_connections import IdleConnections

Connect = Callable[[], Awaitable[Connection]]


class Provider:
    """Server that keeps its connections open until told otherwise."""

    def __init__(self) -> None:
        self.open: list[asyncio.StreamWriter] = []
        self.ended = 0

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open.append(writer)
        with contextlib.suppress(ConnectionError):
            await reader.read()
        self.open.remove(writer)
        self.ended += 1
        writer.close()


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
async def connect(provider: Provider) -> AsyncIterator[Connect]:
    server = await asyncio.start_server(provider.accept, "127.0.0.1", 0)
    connector = TCPConnector(limit=0)
    port = server.sockets[0].getsockname()[1]
    target = ClientRequest("GET", URL(f"http://127.0.0.1:{port}"), loop=asyncio.get_running_loop())

    async def connection() -> Connection:
        return await connector.connect(target, traces=[], timeout=ClientTimeout())

    yield connection
    await connector.close()
    server.close()
    await server.wait_closed()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


async def test_the_connection_that_was_idle_longest_is_taken_first(connect: Connect) -> None:
    idle = IdleConnections(seconds=60)
    first, second = await connect(), await connect()
    idle.put(first)
    idle.put(second)
    assert idle.take() is first
    assert idle.take() is second
    assert idle.take() is None
    first.close()
    second.close()
    idle.close()


async def test_a_connection_unused_for_too_long_is_closed(connect: Connect, provider: Provider) -> None:
    idle = IdleConnections(seconds=0.05)
    idle.put(await connect())
    await until(lambda: provider.ended == 1)
    assert idle.take() is None


async def test_a_connection_that_the_provider_closed_is_not_used_again(connect: Connect, provider: Provider) -> None:
    idle = IdleConnections(seconds=60)
    gone, kept = await connect(), await connect()
    idle.put(gone)
    await until(lambda: len(provider.open) == 2)
    assert gone.transport is not None
    peer = gone.transport.get_extra_info("sockname")
    next(writer for writer in provider.open if writer.get_extra_info("peername") == peer).close()
    await until(lambda: gone.closed)
    idle.put(kept)
    assert idle.take() is kept
    kept.close()
    idle.close()


async def test_a_connection_that_must_be_closed_is_not_kept(connect: Connect, provider: Provider) -> None:
    idle = IdleConnections(seconds=60)
    connection = await connect()
    assert connection.protocol is not None
    connection.protocol.force_close()
    idle.put(connection)
    assert idle.take() is None
    await until(lambda: provider.ended == 1)


async def test_closing_the_pool_closes_what_is_idle_and_what_becomes_idle(connect: Connect, provider: Provider) -> None:
    idle = IdleConnections(seconds=60)
    busy = await connect()
    idle.put(await connect())
    idle.close()
    assert idle.take() is None
    idle.put(busy)
    await until(lambda: provider.ended == 2)


async def test_unsolicited_data_of_a_provider_is_not_read_as_a_response(connect: Connect, provider: Provider) -> None:
    idle = IdleConnections(seconds=60)
    connection = await connect()
    protocol = connection.protocol
    assert protocol is not None
    idle.put(connection)
    await until(lambda: len(provider.open) == 1)
    provider.open[0].write(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
    await until(lambda: protocol.should_close)
    assert idle.take() is None
    await until(lambda: provider.ended == 1)
