"""aiohttp's server with JSON errors, half-closed clients, deadlines and a cap."""

import asyncio
import fcntl
import functools
import logging
import socket
import sys
import termios
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import hdrs, web
from aiohttp.http import HttpRequestParser, HttpVersion11, RawRequestMessage
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong
from aiohttp.web_protocol import RequestHandler, RequestPayloadError
from uuid_utils import uuid7

from services.gateway.aiohttp_parser import TolerantParser, is_repeat
from services.gateway.passthrough_response import PassthroughResponse
from services.gateway.request import errors
from services.gateway.request.header_names import REQUEST_ID

log = logging.getLogger(__name__)

_SWEEP_SECONDS = 1.0
_PROBE_SECONDS = 0.05  # time from a half-close to the first check whether the client still reads
_PROBE_AGAIN_SECONDS = 0.25
_TCP_CLOSE = 7  # state of a connection reset by the peer, in Linux's tcp_states.h
_MAX_HEADERS = 1024  # that are parsed; the handler refuses fewer, for a known caller in the format of its API
_READ_BUFFER = 64 << 10  # bytes; reading a body pauses at twice as many that were not consumed
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_REPEATED = "repeated_header"
_MESSAGES = {
    "headers_too_large": (431, "The request's headers are too large."),
    "malformed_request": (400, "This is not a valid HTTP request."),
    _REPEATED: (400, "A header that determines the request's length or destination is repeated."),
    "internal_error": (500, "The gateway failed on this request."),
    "header_timeout": (408, "The request's headers did not arrive in time."),
    "too_many_connections": (503, "Too many connections are open; try again."),
}


class ClientConnection(RequestHandler):
    """Connection of one client."""

    __slots__ = ("_probed", "_server", "_tolerant", "half_closed")

    def __init__(self, server: "Server", **options: Any) -> None:
        super().__init__(server, read_bufsize=_READ_BUFFER, **options)
        self._server = server
        self.half_closed = False  # the client has closed its sending side
        self._probed = False
        make = functools.partial(
            HttpRequestParser,
            self,
            self._loop,
            self._read_bufsize,
            max_line_size=self.max_line_size,
            max_field_size=self.max_field_size,
            max_headers=self.max_headers,
            payload_exception=RequestPayloadError,
            auto_decompress=False,
            max_msg_queue_size=self._max_msg_queue_size,
        )
        self._tolerant = TolerantParser(make)
        self._parser = self._tolerant  # type: ignore[assignment]

    @property
    def idle(self) -> bool:
        """Whether no request is being served or queued."""
        return not self._messages and (self._waiter is not None or not self._request_count)

    @property
    def awaits_head(self) -> bool:
        """Whether the headers of the first request, or of one that has begun, are missing."""
        return self.idle and (not self._request_count or self._tolerant.in_head)

    @property
    def client_left(self) -> bool:
        """Whether the client is gone; one that closed its sending side may still read."""
        if self.transport is None or not self.half_closed:
            return self.transport is None
        info = self.transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
        return bool(info[0] == _TCP_CLOSE)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept the connection if there is room."""
        super().connection_made(transport)
        self._server.make_room(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Clean up after the connection."""
        super().connection_lost(exc)
        self._tolerant.close()

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Resume reading if it was paused; aiohttp calls the parser after every read."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keep a half-closed connection until its requests are answered.

        A half-closed WebSocket is closed: nothing would be sent on it.
        """
        if self._upgraded:
            return False
        if self.idle or not self._tolerant.last_payload.is_eof():
            return False
        if self._messages:
            message, payload = self._messages[-1]
            if isinstance(message, RawRequestMessage):
                self._messages[-1] = (message._replace(should_close=True), payload)
        else:
            self._close = True  # after the response
        self.half_closed = True
        self._loop.call_later(_PROBE_SECONDS, self._probe)
        return True

    def _probe(self) -> None:
        """Find out whether a client that closed its sending side still reads.

        One that is gone looks the same until its host refuses what is sent to it. If that must be known before the
        response begins, an interim response is sent, which clients skip.
        """
        if self.transport is None:
            return
        if self.client_left:
            self.transport.abort()
            return
        request = self._current_request
        if self._server.handler_cancellation and not self._probed and request is not None:
            self._probed = True
            if request.version >= HttpVersion11 and not request.writer.output_size:
                self.transport.write(_CONTINUE)
        self._loop.call_later(_PROBE_AGAIN_SECONDS, self._probe)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Respond with JSON to a request that cannot be parsed, or on a defect."""
        if request.writer.output_size > 0:
            raise ConnectionError("the response has begun: the connection can only be closed")
        request._version = HttpVersion11
        if status != 400:
            code = "internal_error"
            log.error("unhandled %s", type(exc).__name__, exc_info=exc)
        elif isinstance(exc, LineTooLong) or _has_too_many_headers(exc):
            code = "headers_too_large"
        else:
            code = _REPEATED if exc is not None and is_repeat(exc) else "malformed_request"
        self._server.count(code, type(exc).__name__)
        status, body, headers = _error(code)
        response = web.Response(status=status, body=body, headers=headers)
        response.force_close()
        return response

    def reject(self, code: str) -> None:
        """Close the connection outside of any request, with an error response."""
        self._server.count(code)
        if self.transport is not None and (code == "too_many_connections" or self._tolerant.in_head):
            status, body, headers = _error(code)
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            reason = "Request Timeout" if status == 408 else "Service Unavailable"
            head = f"HTTP/1.1 {status} {reason}\r\n{lines}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            self.transport.write(head.encode() + body)
        self.force_close()


def client_left(request: web.BaseRequest) -> bool:
    """Whether the client of this request is known to be gone."""
    connection: Any = request._protocol
    if connection is None or connection.transport is None:
        return True
    return connection.half_closed and bool(connection.client_left)


class Request(web.BaseRequest):
    """Request whose responses do not reveal the gateway's software."""

    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        if type(response) is not PassthroughResponse:
            response.headers.popall(hdrs.SERVER, None)


class Server(web.Server):
    """aiohttp's low-level server with limits for bodies and connections.

    `refusals` counts, by reason, what is refused before it reaches the handler.
    """

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        *,
        max_body: int,
        max_connections: int,
        refusals: Counter[str],
        **options: Any,
    ) -> None:
        self._max_body = max_body
        self._max_connections = max_connections
        self._refusals = refusals
        self._new: dict[ClientConnection, None] = {}  # without a complete request yet, oldest first
        self._logged: Counter[str] = Counter()
        self.leaving = False  # each response closes its connection, so that clients go elsewhere
        super().__init__(handler, request_factory=self._request, max_headers=_MAX_HEADERS, **options)

    def _request(self, message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
        self._new.pop(protocol, None)
        if self.leaving:
            message = message._replace(should_close=True)
        return Request(message, payload, protocol, writer, task, self._loop, client_max_size=self._max_body)

    def __call__(self) -> RequestHandler:
        return ClientConnection(self, loop=self._loop, **self._kwargs)

    def make_room(self, connection: ClientConnection) -> None:
        """Register a new connection, if necessary in place of an idle one.

        Above the cap, the oldest connection without a request is closed, else an idle one, else the new one.
        """
        if len(self._connections) > self._max_connections:
            idle = next(iter(self._new), None) or self._idle()
            if idle is None or idle is connection:
                connection.reject("too_many_connections")
                return
            idle.reject("too_many_connections")
            self._new.pop(idle, None)
        self._new[connection] = None

    def _idle(self) -> ClientConnection | None:
        """A connection between two requests, if there is one."""
        for connection in self._connections:
            if isinstance(connection, ClientConnection) and connection.transport is not None and connection.idle:
                return connection
        return None

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        """Forget a connection that has ended."""
        if isinstance(handler, ClientConnection):
            self._new.pop(handler, None)
        super().connection_lost(handler, exc)

    def count(self, code: str, detail: str = "") -> None:
        """Count a refusal by its reason; logs the 1st, 2nd, 4th, 8th … of each reason."""
        self._refusals[code] += 1
        self._logged[code] += 1
        times = self._logged[code]
        if times & (times - 1) == 0:
            log.warning("refused before routing: %s%s, %d so far", code, f" ({detail})" if detail else "", times)

    async def enforce_deadlines(self, *, head: float, unread: float) -> None:
        """Scan all connections once a second, until cancelled.

        Closes those that have owed a request's headers for `head` seconds, and those whose client has read nothing of
        its response for `unread` seconds.
        """
        owing: dict[ClientConnection, float] = {}
        stalled: dict[ClientConnection, tuple[float, int]] = {}
        while True:
            await asyncio.sleep(min(_SWEEP_SECONDS, head / 4, unread / 4))
            now = self._loop.time()
            connections = [each for each in self._connections if isinstance(each, ClientConnection)]
            owing = {each: owing.get(each, now) for each in connections if each.awaits_head}
            for connection, since in owing.items():
                if now - since >= head:
                    connection.reject("header_timeout")
            before = stalled
            stalled = {}
            for connection in connections:
                if connection.writing_paused and (transport := connection.transport) is not None:
                    waiting = _unread_bytes(transport)
                    since, size = before.get(connection, (now, waiting))
                    stalled[connection] = (since, size) if size == waiting else (now, waiting)
                    if now - stalled[connection][0] >= unread:
                        transport.abort()


def _unread_bytes(transport: asyncio.Transport) -> int:
    """Bytes that a client has not acknowledged, in the transport's buffer and in the kernel's."""
    try:
        kernel = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
    except OSError:
        kernel = bytes(4)
    return transport.get_write_buffer_size() + int.from_bytes(kernel, sys.byteorder)


def _has_too_many_headers(error: BaseException | None) -> bool:
    return isinstance(error, BadHttpMessage) and error.message.startswith("Too many headers")


def _error(code: str) -> tuple[int, bytes, dict[str, str]]:
    """(Status, body, headers) of an error that belongs to no request."""
    status, text = _MESSAGES[code]
    request_id = str(uuid7())
    headers = {hdrs.CONTENT_TYPE: "application/json", REQUEST_ID: request_id}
    if status in errors.RETRY_CAN_HELP:
        headers[hdrs.RETRY_AFTER] = "1"
    else:
        headers["x-should-retry"] = "false"
    code = "malformed_request" if code == _REPEATED else code
    return status, errors.body("", status=status, code=code, message=text, request_id=request_id), headers
