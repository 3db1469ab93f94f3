"""One HTTP request on one pooled connection; large bodies are sent in background."""

import asyncio
import contextlib
import math
from collections.abc import Callable
from typing import NamedTuple

import aiohttp
from aiohttp import hdrs
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.helpers import TimerNoop
from aiohttp.http import HttpProcessingError, RawResponseMessage
from aiohttp.http_writer import _serialize_headers
from aiohttp.streams import StreamReader
from multidict import CIMultiDict

from services.gateway.upstream.idle_connections import IdleConnections

HEADER_LIMIT = 64 << 10
READ_BUFFER = 256 << 10
_SLICE = 256 << 10  # bytes of a body that are passed to the transport at once
_MAX_INTERIM = 100  # maximum number of 1xx responses before the final one
_INVALID = frozenset({*range(100), 101})  # not a status, and a protocol switch that was never requested
_WITH_BODY = ("POST", "PUT", "PATCH")


class ProviderConnection(ResponseHandler):
    """Connection to a provider, with fewer timers and parser calls than aiohttp's.

    Its read timeout is one timer for all of its requests: it runs on between them, and finds out by itself.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._silent_at = math.inf  # when the read timeout is over; infinite while none runs

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Resume reading if it was paused; aiohttp calls the parser after every read."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Clean up after the connection, its timer included."""
        super().connection_lost(exc)
        super()._drop_timeout()

    def _drop_timeout(self) -> None:
        """Stop the read timeout, but not its timer."""
        self._silent_at = math.inf

    def _reschedule_timeout(self) -> None:
        """Postpone the read timeout."""
        if not self._read_timeout:
            super()._drop_timeout()
            return
        self._silent_at = self._loop.time() + self._read_timeout
        if self._read_timeout_handle is None:
            self._read_timeout_handle = self._loop.call_at(self._silent_at, self._on_read_timeout)

    def _on_read_timeout(self) -> None:
        self._read_timeout_handle = None
        if self._silent_at == math.inf:
            return
        if self._loop.time() < self._silent_at:
            self._read_timeout_handle = self._loop.call_at(self._silent_at, self._on_read_timeout)
            return
        super()._on_read_timeout()


class Timeouts(NamedTuple):
    """Timeouts in seconds: first byte of the response, and stalled upload."""

    first_byte: float
    upload_idle: float


class NotSent(aiohttp.ClientConnectionError):
    """The connection was closed before any byte of the request was sent."""


class OutgoingBody:
    """A request's body, and the callback for when it is sent.

    The sender clears `data`, unless the request is `repeatable` and may have to be sent again.
    """

    __slots__ = ("data", "repeatable", "sent")

    def __init__(self, data: bytes, *, repeatable: bool, sent: Callable[[], None]) -> None:
        self.data = data
        self.repeatable = repeatable
        self.sent = sent


class DirectResponse:
    """Response of a provider, whose head has arrived.

    `content` raises TimeoutError or aiohttp.ClientError if the body breaks off.
    """

    __slots__ = ("_connection", "_idle", "_upload", "content", "headers", "reason", "status")

    def __init__(
        self,
        message: RawResponseMessage,
        content: StreamReader,
        connection: Connection,
        upload: "asyncio.Task[None] | None",
        idle: IdleConnections,
    ) -> None:
        self.status = message.code
        self.reason = message.reason
        self.headers = message.headers
        self.content = content
        self._connection: Connection | None = connection
        self._upload = upload
        self._idle = idle
        content.on_eof(self._release)

    @property
    def connection(self) -> Connection | None:
        """The connection; None once the response is complete or closed."""
        return self._connection

    def close(self) -> None:
        """Close the connection, unless it was returned to the pool already."""
        if self._connection is not None:
            _cancel(self._upload)
            self._connection.close()
            self._connection = None

    def _release(self) -> None:
        if self._connection is None:
            return
        if self._upload is not None and not self._upload.done():
            self.close()  # the response came before the upload was complete: the connection cannot be reused
            return
        self._idle.put(self._connection)
        self._connection = None


async def send(
    connection: Connection,
    method: str,
    path: str,
    *,
    headers: CIMultiDict[str],
    body: OutgoingBody,
    timeouts: Timeouts,
    idle: IdleConnections,
) -> DirectResponse:
    """Send a request and return once the response's head has arrived.

    `idle`: where the connection goes once the response is complete.

    Raises NotSent, aiohttp.ClientError, TimeoutError or OSError; closing the connection is up to the caller.
    """
    protocol = connection.protocol
    if protocol is None or (transport := protocol.transport) is None or transport.is_closing():
        raise NotSent("the connection was closed while it waited in the pool")
    protocol.set_response_params(
        timer=TimerNoop(),
        skip_payload=method == "HEAD",
        read_until_eof=True,
        auto_decompress=False,
        read_timeout=timeouts.first_byte,
        read_bufsize=READ_BUFFER,
        max_line_size=HEADER_LIMIT,
        max_field_size=HEADER_LIMIT,
    )
    data = body.data
    if not body.repeatable:
        body.data = b""
    if data or method in _WITH_BODY:
        headers[hdrs.CONTENT_LENGTH] = str(len(data))
    head = _serialize_headers(f"{method} {path} HTTP/1.1", headers)
    upload = None
    if len(data) <= _SLICE:
        transport.write(head + data)  # a StreamWriter sends the same, for four times the CPU
        if protocol.writing_paused:
            await protocol._drain_helper()
        protocol.start_timeout()
        body.sent()
    else:
        transport.write(head)
        upload = asyncio.create_task(_upload(protocol, data, idle=timeouts.upload_idle, sent=body.sent))
    del data  # the response may take minutes to begin
    try:
        message, content = await protocol.read()
        if message.code < 200:
            message, content = await _final_head(protocol, message.code, upload)
    except HttpProcessingError as error:
        _cancel(upload)
        raise aiohttp.ClientPayloadError(error.message) from error
    except BaseException:
        _cancel(upload)
        raise
    return DirectResponse(message, content, connection, upload, idle)


async def _final_head(
    protocol: ResponseHandler, status: int, upload: "asyncio.Task[None] | None"
) -> tuple[RawResponseMessage, StreamReader]:
    """Read the head of the final response after an interim one with this status.

    aiohttp stops its timeout at an interim response, so it is restarted for each.
    """
    for _ in range(_MAX_INTERIM - 1):
        if status in _INVALID:
            break
        if not protocol._buffer and (upload is None or upload.done()):
            protocol.start_timeout()  # unless the final response has arrived already
        message, content = await protocol.read()
        status = message.code
        if status >= 200:
            return message, content
    raise aiohttp.ClientPayloadError("no final response arrived")


async def _upload(protocol: ResponseHandler, body: bytes, *, idle: float, sent: Callable[[], None]) -> None:
    """Write a body in slices; time out if the provider takes none for `idle` seconds."""
    rest = memoryview(body)
    del body
    with contextlib.suppress(ConnectionError):  # the read of the response fails by itself then
        try:
            while rest:
                if protocol.transport is None or protocol.transport.is_closing():
                    return
                protocol.transport.write(rest[:_SLICE])
                rest = rest[_SLICE:]
                if protocol.writing_paused:
                    async with asyncio.timeout(idle):
                        await protocol._drain_helper()
        except TimeoutError:
            protocol.set_exception(aiohttp.SocketTimeoutError("the provider stopped reading the request"))
            return
        protocol.start_timeout()
        sent()


def _cancel(upload: "asyncio.Task[None] | None") -> None:
    if upload is not None:
        upload.cancel()
