"""A provider that stops reading or sending: the request ends in time, and nothing of it is left."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import pytest
from aiohttp.connector import Connection
from multidict import CIMultiDict

from services.gateway.upstream import http_call
from services.gateway.upstream.client import UpstreamResponse, stop_timer
from services.gateway.upstream.http_call import DirectResponse, OutgoingBody, Timeouts
from services.gateway.upstream.idle_connections import IdleConnections
from services.gateway.upstream.provider_connection import ProviderConnection, SessionConnection

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
SIZES = [100, http_call._SLICE, 4 * http_call._SLICE]


class Deaf(asyncio.Transport):
    """Transport whose peer takes nothing."""

    def __init__(self, protocol: ProviderConnection | SessionConnection) -> None:
        super().__init__()
        self.protocol = protocol
        self.size = 0
        self.closing = False
        self.aborted = False

    def write(self, data: Any) -> None:
        self.size += len(data)
        if not self.protocol.writing_paused:
            self.protocol.pause_writing()

    def take(self) -> None:
        """Let the peer take everything."""
        self.size = 0
        self.protocol.resume_writing()

    def get_write_buffer_size(self) -> int:
        return self.size

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = self.aborted = True

    def is_closing(self) -> bool:
        return self.closing

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


class Call:
    """A request on a connection to a provider that takes nothing."""

    def __init__(self, size: int, *, upload_idle: float) -> None:
        self.protocol = ProviderConnection(asyncio.get_running_loop())
        self.transport = Deaf(self.protocol)
        self.protocol.connection_made(self.transport)
        self.idle = IdleConnections(seconds=60)
        self.sent = 0
        connection: Any = SimpleNamespace(protocol=self.protocol, close=self.protocol.close)
        self.sending = asyncio.create_task(
            http_call.send(
                cast(Connection, connection),
                "POST",
                "/",
                headers=CIMultiDict(),
                body=OutgoingBody(b"x" * size, repeatable=False, sent=self._note_sent),
                timeouts=Timeouts(600, upload_idle),
                idle=self.idle,
            )
        )

    def _note_sent(self) -> None:
        self.sent += 1

    async def response(self) -> DirectResponse:
        async with asyncio.timeout(120):
            return await self.sending

    async def early_response(self) -> DirectResponse:
        """Have the provider respond before it has read the request; returns a response whose body is still to come."""
        await asyncio.sleep(0)
        self.protocol.data_received(OK)
        return await self.response()

    async def body_of(self, response: DirectResponse) -> bytes:
        self.protocol.data_received(b"{}")
        return await response.content.readany()

    def end(self) -> None:
        self.protocol.connection_lost(None)
        self.idle.close()


@pytest.mark.parametrize("size", SIZES)
async def test_a_request_of_any_size_that_the_provider_does_not_read_times_out(size: int) -> None:
    call = Call(size, upload_idle=0.01)
    with pytest.raises(aiohttp.SocketTimeoutError):
        await call.response()
    assert not call.sent
    call.end()


@pytest.mark.parametrize("size", SIZES)
async def test_a_response_that_comes_before_the_request_is_read_is_passed_on(size: int) -> None:
    call = Call(size, upload_idle=600)
    assert await call.body_of(await call.early_response()) == b"{}"
    assert call.idle.take() is None
    assert call.transport.aborted
    call.end()


@pytest.mark.parametrize("size", SIZES)
async def test_the_first_byte_timeout_begins_once_the_request_is_read(size: int) -> None:
    call = Call(size, upload_idle=600)
    async with asyncio.timeout(120):
        while not call.sent:
            assert call.protocol._read_timeout_handle is None
            await asyncio.sleep(0)
            if call.protocol.writing_paused:
                call.transport.take()
    assert call.protocol._read_timeout_handle is not None
    call.protocol.data_received(OK + b"{}")
    await call.response()
    assert call.idle.take() is not None
    call.end()


@pytest.mark.parametrize("size", SIZES)
async def test_a_connection_on_which_a_part_of_a_request_is_missing_is_not_used_again(size: int) -> None:
    call = Call(size, upload_idle=0.01)
    response = await call.early_response()
    assert response._upload is not None
    await asyncio.wait_for(response._upload, 120)  # given up, while the response goes on
    assert await call.body_of(response) == b"{}"
    assert call.idle.take() is None
    call.end()


@pytest.mark.parametrize("kind", [ProviderConnection, SessionConnection])
@pytest.mark.parametrize("size", [0, 1])
async def test_a_connection_closes_at_once_if_its_provider_does_not_read(
    kind: type[ProviderConnection | SessionConnection], size: int
) -> None:
    connection = kind(asyncio.get_running_loop())
    transport = Deaf(connection)
    connection.connection_made(transport)
    transport.size = size
    connection.close()
    assert transport.closing
    assert transport.aborted is (size > 0)


@pytest.mark.parametrize("kind", [ProviderConnection, SessionConnection])
async def test_the_first_byte_timeout_does_not_end_a_response_that_has_begun(
    kind: type[ProviderConnection | SessionConnection],
) -> None:
    connection = kind(asyncio.get_running_loop())
    connection.read_timeout = 0.01
    connection.start_timeout()
    stop_timer(cast(UpstreamResponse, SimpleNamespace(connection=SimpleNamespace(protocol=connection))))
    await asyncio.sleep(0.05)
    assert connection.exception() is None
    connection.connection_lost(None)
