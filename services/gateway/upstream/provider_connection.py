"""Connection to a provider: aiohttp's protocol, with fewer timers and futures."""

import asyncio
import math
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.helpers import _EXC_SENTINEL, EMPTY_BODY_STATUS_CODES, TimerNoop
from aiohttp.http import HttpProcessingError, RawResponseMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

HEADER_LIMIT = 64 << 10
READ_BUFFER = 256 << 10
_LARGE_READ = READ_BUFFER // 2  # bytes after which other connections get a turn
_MAX_INTERIM = 100  # maximum number of 1xx responses before the final one
_MAX_HEADS = 1 << 20  # maximum number of bytes before the end of the final head, of whole reads
MAX_HEADERS = 4096  # of one response: its bytes are the usual limit
_HEAD_END = b"\r\n\r\n"
_INVALID = frozenset({*range(100), 101})  # not a status, and a protocol switch that was never requested

Head = tuple[RawResponseMessage, StreamReader]


class SessionConnection(ResponseHandler):
    """aiohttp's own connection, with an end that loses nothing and hides nothing.

    Its read timeout holds for the whole head of a response, however that trickles in.
    """

    _has_ended = False
    _awaits_head = False  # the request is sent
    _is_in_head = False  # the final head has not arrived
    _head_bytes = 0

    def start_timeout(self) -> None:
        """Start the read timeout: the request is sent."""
        self._awaits_head = False
        super().start_timeout()
        self._awaits_head = self._is_in_head = True
        self._head_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Parse what was read, a head apart from what follows it.

        A surplus byte behind the response would fail all of one read.
        """
        for part in _heads(data) if self._is_in_head else ():
            self._head_bytes += len(part)
            super().data_received(part)
            data = data[len(part) :]
            if not self._is_in_head:
                break
        if self._is_in_head:
            self._head_bytes += len(data)
            if self._head_bytes > _MAX_HEADS:
                self.set_exception(aiohttp.ClientPayloadError("the head of the response is too long"))
                self.abort()
                return
        super().data_received(data)

    def feed_data(self, data: Head, size: int = 0) -> None:
        """Pass the head of a response on."""
        self._awaits_head = False
        self._is_in_head = data[0].code < 200 and data[0].code != 101
        self._reschedule_timeout()
        super().feed_data(data, size)

    def _reschedule_timeout(self) -> None:
        if not self._awaits_head:
            super()._reschedule_timeout()

    def pause_reading(self) -> None:
        """Pause reading, unless the connection has ended: nothing more comes."""
        if not self._has_ended:
            super().pause_reading()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Fail a body without length unless the connection's end is orderly.

        aiohttp takes any end for the body's.
        """
        if exc is None and self._reading_paused and self._parser is not None and not self._upgraded:
            self._has_ended = True  # TLS ends a connection even while reading is paused
            self.data_received(b"")
        payload = self._payload
        if isinstance(exc, ConnectionError) and isinstance(payload, StreamReader) and not payload.is_eof():
            payload.set_exception(aiohttp.ClientPayloadError("the connection was reset"))
        super().connection_lost(exc)

    def close(self) -> None:
        """Close the connection; at once if something is unsent.

        The provider may never take it.
        """
        if self.transport is not None and not self._upgraded and self.transport.get_write_buffer_size():
            self.abort()
        else:
            super().close()


def _heads(data: bytes) -> Iterator[bytes]:
    """Yield what ends like a head and is followed by something, one after the other."""
    start = 0
    for _ in range(_MAX_INTERIM):
        at = data.find(_HEAD_END, start)
        end = at + len(_HEAD_END)
        if at < 0 or end == len(data):
            return
        yield data[start:end]
        start = end


def _has_begun_another(parser: Any) -> bool:
    """Whether the beginning of one more response came with the end of one: its rest would be read as the next one."""
    try:
        return parser.feed_eof() is not None
    except HttpProcessingError:
        return True


class ProviderConnection(SessionConnection):
    """Connection to a provider, with one request at a time.

    Its read timeout is one timer for all of its requests: it runs on between them, and finds out by itself. A listener
    reads a body as it arrives, without a future for each read.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._silent_at = math.inf  # when the read timeout is over; infinite while none runs
        self._head: asyncio.Future[Head] | None = None
        self.in_head = False  # a request was sent, and the final head of its response is incomplete
        self._interim = 0  # 1xx responses to this request
        self._before_body = 0  # bytes without a final head
        self._listener: Callable[[], None] | None = None

    def expect(self, *, skip_body: bool, timeout: float) -> None:
        """Prepare for the response to a request that is about to be sent.

        `timeout`: how long the provider may be silent, from `start_timeout` on.
        """
        self.set_response_params(
            timer=TimerNoop(),
            skip_payload=skip_body,
            read_until_eof=True,
            auto_decompress=False,
            read_timeout=timeout,
            read_bufsize=READ_BUFFER,
            max_line_size=HEADER_LIMIT,
            max_field_size=HEADER_LIMIT,
            max_headers=MAX_HEADERS,
        )
        self._head = self._loop.create_future()
        self.in_head = True
        self._interim = 0
        self._before_body = 0

    async def head(self) -> Head:
        """Wait for the head of the final response.

        Raises aiohttp.ClientError or TimeoutError if none arrives.
        """
        assert self._head is not None
        try:
            return await self._head
        finally:
            self._head = None  # a failed future would be part of a reference cycle

    def listen(self, listener: Callable[[], None] | None) -> None:
        """Call `listener` after each read and at the end of a body, until None is passed."""
        self._listener = listener

    def data_received(self, data: bytes) -> None:
        """Parse what was read."""
        if len(data) >= _LARGE_READ:  # uvloop would read up to 31 times more in this turn of the loop
            self._pause_transport_reading()
            self._loop.call_soon(self._end_turn)
        for part in _heads(data) if self.in_head else ():  # a surplus byte would fail all of one read
            self._parse(part)
            data = data[len(part) :]
            if not self.in_head:
                break
        self._parse(data)

    def _parse(self, data: bytes) -> None:
        parser = self._parser
        if parser is None:
            self._should_close = True  # nothing was asked
            return
        if self.in_head:
            self._before_body += len(data)
        elif data and (self._payload is None or self._payload.is_eof()):
            self._should_close = True  # it belongs to no request
            return
        try:
            messages = parser.feed_data(data)[0]
        except HttpProcessingError as error:
            self._break_off(error.message, error)
            return
        for message, payload in messages:
            self._take_head(message, payload)
        if self.in_head:
            if self._before_body > _MAX_HEADS:
                self._break_off("the head of the response is too long")
        elif self._payload is None or self._payload.is_eof():
            self._should_close = self._should_close or _has_begun_another(parser)
        elif self._silent_at != math.inf:  # until then the head is due as a whole, however it trickles in
            self._silent_at = self._loop.time() + (self._read_timeout or math.inf)
        if self._reading_paused and self._payload is not None and not self._payload.is_eof():
            self._loop.call_soon(self.notify)  # many small chunks: reading them resumes the parser, for as many again
        else:
            self.notify()

    def _end_turn(self) -> None:
        """Read on, unless something else keeps reading paused."""
        if not self._reading_paused and not self._buffer_paused:
            self._resume_transport_reading()

    def notify(self) -> None:
        """Call the listener; for the last time if the body is over."""
        listener = self._listener
        if listener is not None:
            if self._payload is None or self._payload.is_eof():
                self._listener = None  # the connection may be in the pool already
            listener()

    def _take_head(self, message: RawResponseMessage, payload: StreamReader) -> None:
        """Pass the head of the final response on; skip interim ones."""
        status = message.code
        if not self.in_head:
            self._should_close = True  # a response too many
        elif status >= 200:
            self.in_head = False
            self._should_close = self._should_close or message.should_close
            self._payload = payload
            if payload.is_eof():
                self._drop_timeout()
            else:
                payload.on_eof(self._drop_timeout)
            if status in EMPTY_BODY_STATUS_CODES:
                payload = EMPTY_PAYLOAD
            if self._head is not None and not self._head.done():
                self._head.set_result((message, payload))
        else:
            self._interim += 1
            if status in _INVALID or self._interim >= _MAX_INTERIM:
                self._break_off("no final response arrived")

    def _break_off(self, reason: str, cause: BaseException = _EXC_SENTINEL) -> None:
        """Close the connection, whose provider does not speak HTTP."""
        self.in_head = False
        if self.transport is not None:
            self.transport.close()
        self.set_exception(aiohttp.ClientPayloadError(reason), cause)

    def set_exception(self, exc: BaseException, exc_cause: BaseException = _EXC_SENTINEL) -> None:
        """Fail the response, whether its head or its body is awaited."""
        super().set_exception(exc, exc_cause)
        head = self._head
        if head is not None and not head.done():
            head.set_exception(exc)
            head.exception()  # it may be awaited only later, or never
        payload = self._payload
        if payload is not None and not payload.is_eof() and payload.exception() is None:
            payload.set_exception(exc, exc_cause)
        self.notify()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Clean up after the connection, its timer included."""
        super().connection_lost(exc)
        super()._drop_timeout()
        self.in_head = False
        self.notify()

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Resume reading if it was paused; aiohttp calls the parser after every read."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

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
