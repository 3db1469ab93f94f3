"""Whatever bytes a provider sends, however they are cut: the outcome is that of aiohttp's own client."""

import asyncio
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from aiohttp import ClientPayloadError
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage
from aiohttp.streams import StreamReader
from hypothesis import example, given
from hypothesis import strategies as st

from services.gateway.upstream import provider_connection
from services.gateway.upstream.provider_connection import (
    HEADER_LIMIT,
    MAX_HEADERS,
    READ_BUFFER,
    ProviderConnection,
    SessionConnection,
)

OK = b"HTTP/1.1 200 OK\r\n"
EARLY_HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n"


class Outcome(NamedTuple):
    """What a client knows of a response. `ended`: its body is complete."""

    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes
    ended: bool


class Transport(asyncio.Transport):
    """Transport that only notes whether it was closed."""

    closing = False
    reading = True

    def close(self) -> None:
        self.closing = True

    abort = close

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


class Direct:
    """Reads a body from a connection as a listener."""

    def __init__(self, connection: ProviderConnection, content: StreamReader) -> None:
        self.body = b""
        self.content = content
        self.is_reading = False
        connection.listen(self.read)
        self.read()

    def read(self) -> None:
        if not self.is_reading and self.content.exception() is None:
            self.is_reading = True
            while data := self.content.read_nowait():
                self.body += data
            self.is_reading = False


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def final(message: RawResponseMessage, content: StreamReader, body: bytes) -> Outcome:
    return Outcome(message.code, message.reason or "", list(message.headers.items()), body, content.is_eof())


def feed(connection: ResponseHandler, pieces: list[bytes], *, ends: bool) -> Iterator[None]:
    """Feed the pieces as a transport would; yields after each, and after the end."""
    transport = Transport()
    connection.connection_made(transport)
    yield
    for piece in pieces:
        if not transport.closing:
            connection.data_received(piece)
            yield
    if ends or transport.closing:
        connection.connection_lost(None)
    yield


class HeadsApart(ResponseHandler):
    """aiohttp's own connection, of which heads never arrive in one read with what follows them."""

    def data_received(self, data: bytes) -> None:
        while not any(head[0].code >= 200 for head, _ in self._buffer) and self._parses():
            head, end, rest = data.partition(b"\r\n\r\n")
            if not rest:
                break
            super().data_received(head + end)
            data = rest
        super().data_received(data)

    def _parses(self) -> bool:
        return self.transport is not None and not self.transport.is_closing()


async def by_aiohttp(pieces: list[bytes], *, ends: bool, skip_body: bool) -> tuple[Outcome | None, bool]:
    """(Outcome, whether the connection can be used again) of aiohttp's client."""
    connection = HeadsApart(asyncio.get_running_loop())
    feeding = feed(connection, pieces, ends=ends)
    next(feeding)
    connection.set_response_params(
        skip_payload=skip_body,
        read_until_eof=True,
        auto_decompress=False,
        read_bufsize=READ_BUFFER,
        max_line_size=HEADER_LIMIT,
        max_field_size=HEADER_LIMIT,
    )
    for _ in feeding:
        pass
    while len(connection):
        message, content = await connection.read()
        if message.code < 100 or message.code == 101:
            return None, False
        if message.code >= 200:
            body = b"".join(getattr(content, "_buffer", ()))
            return final(message, content, body), not connection.should_close
    return None, False


async def by_us(
    pieces: list[bytes], *, ends: bool, skip_body: bool, listens: bool = False
) -> tuple[Outcome | None, bool]:
    """The same of ours. `listens`: the body is read by a listener."""
    connection = ProviderConnection(asyncio.get_running_loop())
    feeding = feed(connection, pieces, ends=ends)
    next(feeding)
    connection.expect(skip_body=skip_body, timeout=60)
    connection.start_timeout()
    found: tuple[RawResponseMessage, StreamReader] | None = None
    direct: Direct | None = None
    for _ in feeding:
        head = connection._head
        if found is None and head is not None and head.done() and head.exception() is None:
            found = head.result()
            if listens:
                direct = Direct(connection, found[1])
    outcome = None
    if found is not None:
        outcome = final(*found, direct.body if direct else b"".join(getattr(found[1], "_buffer", ())))
    usable = outcome is not None and connection.is_connected() and not connection.should_close
    connection.close()
    connection.connection_lost(None)  # stops its timer
    return outcome, usable


def chunked(body: bytes, size: int) -> bytes:
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in chunks)


STATUS_LINES = st.sampled_from(
    [OK, OK, OK, b"HTTP/1.0 200 OK\r\n", b"HTTP/1.1 204 No Content\r\n", b"HTTP/1.1 304 Not Modified\r\n",
     b"HTTP/1.1 101 Switching Protocols\r\n", b"HTTP/1.1 429 \xff\r\n", b"HTTP/1.1 42 X\r\n", b"HTTP/1.1 200\r\n",
     b"HTTP/2 200 OK\r\n", b"\r\n\r\nHTTP/1.1 200 OK\r\n"]
)  # fmt: skip
FIELDS = st.lists(
    st.sampled_from(
        [b"Content-Length: 12\r\n", b"Content-Length: 0\r\n", b"Content-Length: -1\r\n", b"Content-Length: 12, 12\r\n",
         b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip\r\n", b"Transfer-Encoding: gzip, chunked\r\n",
         b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"Upgrade: h2c\r\n", b"Connection: upgrade\r\n",
         b"X-Odd: a\x00b\r\n", b"X-Folded: a\r\n b\r\n", b"X-Bare: a\n", b" X: y\r\n", b"X-Long: %b\r\n" % (b"x" * 70_000)]
    ),
    max_size=3,
)  # fmt: skip
BODY = b"hello, world"
BODIES = st.sampled_from(
    [BODY, b"", BODY[:5], chunked(BODY, 5) + b"0\r\n\r\n", chunked(BODY, 1) + b"0\r\nX-Trailer: 1\r\n\r\n",
     chunked(BODY, 12), chunked(BODY, 5) + b"zz\r\n", b"5;name=value\r\nhello\r\n0\r\n\r\n", b"5\r\nhelloX",
     b"5 \r\nhello\r\n0\r\n\r\n", b"5\nhello\n0\n\n", b"-1\r\n", b"fffffffffffffffffff\r\n"]
)  # fmt: skip
SURPLUS = st.sampled_from([b"", b"", b"", OK + b"Content-Length: 0\r\n\r\n", b"HTTP/1.1 200", b"\r\n", b"x"])


class Sent(NamedTuple):
    """Bytes from a provider, in the pieces in which they arrive; then it closes the connection or not."""

    pieces: list[bytes]
    ends: bool


@st.composite
def responses(draw: st.DrawFn) -> Sent:
    """A response that may be wrong in any way, cut anywhere."""
    data = bytearray(EARLY_HINTS * draw(st.integers(0, 2)))
    data += draw(STATUS_LINES) + b"".join(draw(FIELDS)) + b"\r\n" + draw(BODIES) + draw(SURPLUS)
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(data) - 1))
        data[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=6)))
    pieces = [bytes(data[start:end]) for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    return Sent([piece for piece in pieces if piece], draw(st.booleans()))


@given(sent=responses(), skip_body=st.booleans())
@example(sent=Sent([OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", b"zz\r\n"], ends=False), skip_body=False)
@example(sent=Sent([OK + b"Transfer-Encoding: chunked\r\n\r\n", b"5\r\nhello\r\nzz\r\n"], ends=False), skip_body=False)
@example(sent=Sent([OK + b"\r\n", BODY], ends=True), skip_body=False)
def test_any_response_has_the_outcome_that_it_has_with_aiohttps_client(
    loop: asyncio.AbstractEventLoop, sent: Sent, skip_body: bool
) -> None:
    expected, is_reusable = loop.run_until_complete(by_aiohttp(sent.pieces, ends=sent.ends, skip_body=skip_body))
    outcome, reused = loop.run_until_complete(by_us(sent.pieces, ends=sent.ends, skip_body=skip_body))
    assert outcome == expected
    assert is_reusable or not reused
    heard, _ = loop.run_until_complete(by_us(sent.pieces, ends=sent.ends, skip_body=skip_body, listens=True))
    if expected is not None and heard is not None and not expected.ended:
        assert expected.body.startswith(heard.body)  # a read that fails the body brings nothing, as with aiohttp
        heard = heard._replace(body=expected.body)
    assert heard == expected


async def test_a_body_of_invalid_chunks_fails_at_once() -> None:
    connection = ProviderConnection(asyncio.get_running_loop())
    connection.connection_made(Transport())
    connection.expect(skip_body=False, timeout=60)
    connection.data_received(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    _, content = await connection.head()
    assert await content.readany() == b"hello"
    connection.data_received(b"zz\r\n")
    with pytest.raises(ClientPayloadError):
        await asyncio.wait_for(content.readany(), 60)


async def test_interim_responses_are_bounded_in_number_and_in_bytes() -> None:
    for interim in (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 X\r\nX: %b\r\n\r\n" % (b"x" * 60_000)):
        connection = ProviderConnection(asyncio.get_running_loop())
        transport = Transport()
        connection.connection_made(transport)
        connection.expect(skip_body=False, timeout=60)
        sent = 0
        while not transport.closing:
            connection.data_received(interim)
            sent += len(interim)
        assert sent <= provider_connection._MAX_HEADS + len(interim)
        with pytest.raises(ClientPayloadError):
            await connection.head()


@pytest.mark.parametrize("surplus", [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"HTTP", b"\r\n", b"x"])
async def test_a_connection_on_which_bytes_come_unasked_is_not_used_again(surplus: bytes) -> None:
    connection = ProviderConnection(asyncio.get_running_loop())
    connection.connection_made(Transport())
    connection.expect(skip_body=False, timeout=60)
    connection.data_received(OK + b"Content-Length: 2\r\n\r\n{}")
    _, content = await connection.head()
    assert await content.readany() == b"{}"
    assert not connection.should_close
    connection.data_received(surplus)
    assert connection.should_close


@pytest.mark.parametrize(
    "surplus", [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 2", b"H", OK + b"X-Y: "]
)
@pytest.mark.parametrize(
    "framing", [b"Content-Length: 2\r\n\r\n{}", b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"]
)
@pytest.mark.parametrize("cut", [0, 20])
async def test_a_connection_is_not_used_again_after_a_response_too_many_has_begun(
    surplus: bytes, framing: bytes, cut: int
) -> None:
    """The next request got 502, once the rest of that response came."""
    connection = ProviderConnection(asyncio.get_running_loop())
    connection.connection_made(Transport())
    for more in (b"", surplus):
        connection.expect(skip_body=False, timeout=60)
        sent = OK + framing + more
        connection.data_received(sent[:cut])
        connection.data_received(sent[cut:])
        _, content = await connection.head()
        assert await content.read() == b"{}"
        assert connection.should_close is bool(more)


async def test_a_listener_is_called_a_last_time_at_the_end_and_not_for_the_next_response() -> None:
    calls: list[bool] = []
    connection = ProviderConnection(asyncio.get_running_loop())
    connection.connection_made(Transport())
    for expected in ([False, True], [False, True]):
        connection.expect(skip_body=False, timeout=60)
        connection.data_received(OK + b"Content-Length: 2\r\n\r\n")
        _, content = await connection.head()
        if not calls:
            connection.listen(lambda content=content: calls.append(content.is_eof()))
        connection.data_received(b"{")
        connection.data_received(b"}")
        assert calls == expected


async def test_a_connection_that_ends_while_reading_is_paused_loses_nothing_of_the_body() -> None:
    connection = ProviderConnection(asyncio.get_running_loop())
    connection.connection_made(Transport())
    connection.expect(skip_body=False, timeout=60)
    body = b"x" * (3 * READ_BUFFER)
    connection.data_received(OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(body, 1000) + b"0\r\n\r\n")
    _, content = await connection.head()
    assert connection._reading_paused
    connection.connection_lost(None)
    assert await content.readany() == body
    assert content.at_eof()


@pytest.mark.parametrize(
    "body", [b"Content-Length: 2\r\n\r\n{}", b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"]
)
@pytest.mark.parametrize("hints", [b"", EARLY_HINTS, EARLY_HINTS * 3])
@pytest.mark.parametrize("surplus", [b"x", b"\0", b"\r\n\r\n\r\nx", b"HTTP/9 no\r\n\r\n"])
@pytest.mark.parametrize("size", [1, 40, 1000])
async def test_a_surplus_byte_does_not_fail_the_response_before_it(
    body: bytes, hints: bytes, surplus: bytes, size: int
) -> None:
    data = hints + OK + body + surplus
    for kind in (ProviderConnection, SessionConnection):
        connection = kind(asyncio.get_running_loop())
        transport = Transport()
        connection.connection_made(transport)
        if isinstance(connection, ProviderConnection):
            connection.expect(skip_body=False, timeout=60)
        else:
            connection.set_response_params(read_until_eof=True, auto_decompress=False)
        connection.start_timeout()
        for start in range(0, len(data), size):
            if not transport.closing:
                connection.data_received(data[start : start + size])
        if isinstance(connection, ProviderConnection):
            message, content = await connection.head()
        else:
            while (found := await connection.read())[0].code < 200:
                pass
            message, content = found
        assert (message.code, await content.read()) == (200, b"{}")
        assert connection.should_close or transport.closing
        connection.connection_lost(None)


async def test_headers_are_bounded_in_bytes_not_by_the_128_of_aiohttp() -> None:
    for kind in (ProviderConnection, SessionConnection):
        for count, size, passes in ((2000, 10, True), (1000, 2000, False), (5000, 10, False)):
            connection = kind(asyncio.get_running_loop())
            transport = Transport()
            connection.connection_made(transport)
            if isinstance(connection, ProviderConnection):
                connection.expect(skip_body=False, timeout=60)
            else:
                connection.set_response_params(read_until_eof=True, max_headers=MAX_HEADERS)
            connection.start_timeout()
            head = OK + b"".join(b"X-%d: %b\r\n" % (number, b"x" * size) for number in range(count))
            data = head + b"Content-Length: 0\r\n\r\n"
            for start in range(0, len(data), 1000):
                if not transport.closing:
                    connection.data_received(data[start : start + 1000])
            assert transport.closing is not passes
            if passes:
                found = await (connection.head() if isinstance(connection, ProviderConnection) else connection.read())
                assert len(found[0].headers) == count + 1
            connection.connection_lost(None)
