"""One HTTP request on one pooled connection; large bodies are sent in background."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import NamedTuple, cast

import aiohttp
from aiohttp import hdrs
from aiohttp.connector import Connection
from aiohttp.http import RawResponseMessage
from aiohttp.http_writer import _serialize_headers
from aiohttp.streams import StreamReader
from multidict import CIMultiDict

from services.gateway.upstream.idle_connections import IdleConnections
from services.gateway.upstream.provider_connection import ProviderConnection

_SLICE = 256 << 10  # bytes of a body that are passed to the transport at once
_WITH_BODY = ("POST", "PUT", "PATCH")


Piece = bytes | memoryview


class Timeouts(NamedTuple):
    """Timeouts in seconds: first byte of the response, and stalled upload."""

    first_byte: float
    upload_idle: float


class NotSent(aiohttp.ClientConnectionError):
    """The connection was closed before any byte of the request was sent."""


class OutgoingBody:
    """A request's body, perhaps in pieces, and the callback for when it is sent.

    The sender clears `data`, unless the request is `repeatable` and may have to be sent again.
    """

    __slots__ = ("data", "repeatable", "sent")

    def __init__(self, data: "bytes | tuple[Piece, ...]", *, repeatable: bool, sent: Callable[[], None]) -> None:
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

    def listen(self, listener: Callable[[], None] | None) -> None:
        """Call `listener` as `content` changes, until None is passed."""
        if self._connection is not None:
            cast(ProviderConnection, self._connection.protocol).listen(listener)

    def notify(self) -> None:
        """Call the listener, if there is one."""
        if self._connection is not None:
            cast(ProviderConnection, self._connection.protocol).notify()

    def close(self) -> None:
        """Close the connection, unless it was returned to the pool already."""
        if self._connection is not None:
            _cancel(self._upload)
            self._connection.close()
            self._connection = None
            if not self.content.is_eof():  # drops what it would call at its end, which refers to this response
                self.content.set_exception(aiohttp.ClientConnectionError("closed"))

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
    has_raw_bytes: bool = False,
    body: OutgoingBody,
    timeouts: Timeouts,
    idle: IdleConnections,
) -> DirectResponse:
    """Send a request and return once the response's head has arrived.

    `idle`: where the connection goes once the response is complete.

    Raises NotSent, aiohttp.ClientError, TimeoutError or OSError; closing the connection is up to the caller.
    """
    protocol = cast(ProviderConnection | None, connection.protocol)
    if protocol is None or (transport := protocol.transport) is None or transport.is_closing():
        raise NotSent("the connection was closed while it waited in the pool")
    protocol.expect(skip_body=method == "HEAD", timeout=timeouts.first_byte)
    data = body.data
    if not body.repeatable:
        body.data = b""
    size = len(data) if isinstance(data, bytes) else sum(map(len, data))
    if size or method in _WITH_BODY:
        headers[hdrs.CONTENT_LENGTH] = str(size)
    serialize = serialize_raw if has_raw_bytes else _serialize_headers
    head = serialize(f"{method} {path} HTTP/1.1", headers)
    upload = None
    pieces: list[Piece] = []  # to be sent in background
    if size <= _SLICE and isinstance(data, bytes):
        transport.write(head + data)  # a StreamWriter sends the same, for four times the CPU
    else:
        transport.write(head)
        pieces += (data,) if isinstance(data, bytes) else data
    del data
    if pieces or protocol.writing_paused:
        upload = asyncio.create_task(_upload(protocol, pieces, idle=timeouts.upload_idle, sent=body.sent))
    else:
        protocol.start_timeout()
        body.sent()
    del pieces  # the response may take minutes to begin
    try:
        message, content = await protocol.head()
    except BaseException:
        _cancel(upload)
        raise
    return DirectResponse(message, content, connection, upload, idle)


def serialize_raw(request_line: str, headers: CIMultiDict[str]) -> bytes:
    """Serialize a head byte for byte; ValueError for control characters.

    aiohttp leaves out what is not UTF-8.
    """
    lines = [request_line, *(f"{name}: {value}" for name, value in headers.items())]
    if any(mark in line for line in lines for mark in "\r\n\0"):
        raise ValueError("a header contains a control character")
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape")


async def _upload(protocol: ProviderConnection, pieces: list[Piece], *, idle: float, sent: Callable[[], None]) -> None:
    """Write the pieces of a body in slices, and empty the list; time out if the provider takes none for `idle` seconds.

    What was written before counts too.
    """
    rest = memoryview(b"")
    with contextlib.suppress(ConnectionError):  # the read of the response fails by itself then
        try:
            while rest or pieces or protocol.writing_paused:
                if protocol.writing_paused:
                    async with asyncio.timeout(idle):
                        await protocol._drain_helper()
                if protocol.transport is None or protocol.transport.is_closing():
                    return
                if not rest and pieces:
                    rest = memoryview(pieces.pop(0))
                if rest:
                    protocol.transport.write(rest[:_SLICE])
                    rest = rest[_SLICE:]
        except TimeoutError:
            protocol.force_close()  # another request would be read as the rest of this one
            if protocol.in_head:
                protocol.set_exception(aiohttp.SocketTimeoutError("the provider stopped reading the request"))
            return
        protocol.start_timeout()
        sent()


def _cancel(upload: "asyncio.Task[None] | None") -> None:
    if upload is not None:
        upload.cancel()
