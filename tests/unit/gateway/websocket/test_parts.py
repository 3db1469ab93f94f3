"""The parts of a relayed WebSocket: backpressure, frames and messages, and what cannot be read of them."""

import asyncio
import zlib
from typing import Any

import pytest

from services.gateway.websocket import peer as peer_module
from services.gateway.websocket.frames import FrameError, Piece, Scanner
from services.gateway.websocket.messages import CLIP, Inflater, Message, MessageReader
from services.gateway.websocket.peer import Peer
from tests.support.websocket_peers import CONTINUATION, PING, TEXT, Deflate, frame


class Transport:
    """A connection that counts how often its reading was paused and resumed."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.writing_paused = False
        self.closing = False
        self.written = b""
        self.lost = asyncio.Event()

    def pause_reading(self) -> None:
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.calls.append("resume")

    def is_closing(self) -> bool:
        return self.closing

    def write(self, data: bytes) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return len(self.written)

    def close(self) -> None:
        self.calls.append("close")

    def abort(self) -> None:
        self.calls.append("abort")
        self.lost.set()


async def test_a_side_that_is_not_read_stops_sending() -> None:
    transport: Any = Transport()
    peer = Peer(transport, transport)
    for _ in range(3):
        peer.feed_data(b"x" * 60_000)
    assert transport.calls == ["pause"]
    assert len(await peer.read()) == 180_000
    assert transport.calls == ["pause", "resume"]
    reading = asyncio.ensure_future(peer.read())
    peer.feed_eof()
    assert await reading == b""


async def test_a_side_that_is_gone_takes_no_more() -> None:
    transport: Any = Transport()
    peer = Peer(transport, transport)
    transport.closing = True
    peer.write(b"late")
    assert transport.written == b""
    with pytest.raises(ConnectionError):
        await peer.drain()


async def test_a_closed_side_that_never_reads_does_not_keep_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_module, "_FLUSH_SECONDS", 0)
    transport: Any = Transport()
    peer = Peer(transport, transport)
    peer.write(b"never read")
    peer.close()
    async with asyncio.timeout(20):
        await transport.lost.wait()
    assert transport.calls == ["close", "abort"]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_pieces_are_the_bytes_that_came_and_payloads_are_unmasked(size: int) -> None:
    data = (
        frame(b"first ", TEXT, masked=True, final=False)
        + frame(b"ping", PING, masked=True)
        + frame(b"y" * 300, CONTINUATION, masked=True)
        + frame(b"", TEXT, masked=True)
    )
    scanner = Scanner(masked=True, compression=False)
    pieces = [piece for at in range(0, len(data), size) for piece in scanner.feed(data[at : at + size])]
    assert b"".join(piece.raw for piece in pieces) == data
    reader = MessageReader(None, limit=1000, whole=True)
    messages = [reader.feed(piece) for piece in pieces if not piece.is_control]
    assert [message.text for message in messages if message is not None] == [b"first " + b"y" * 300, b""]


def pieces(*messages: bytes, deflate: Deflate) -> list[Piece]:
    scanner = Scanner(masked=False, compression=True)
    return [piece for message in messages for piece in scanner.feed(deflate.message(message, masked=False))]


def test_compressed_messages_are_read_with_the_window_of_those_before_them() -> None:
    words = [b"the same words again and again " * 100, b"the same words again", b"x" * 500_000, b""]
    reader = MessageReader(Inflater(takeover=True), limit=1 << 20, whole=True)
    found = [reader.feed(piece) for piece in pieces(*words, deflate=Deflate())]
    assert [message.text for message in found if message is not None] == words


def test_of_a_provider_s_long_message_the_skeleton_is_kept_and_the_next_one_is_read() -> None:
    long = b'{"a":"' + b"a" * 50_000 + b'","b":"short","c":"' + b"c" * 50_000 + b'"}'
    reader = MessageReader(Inflater(takeover=True), limit=60_000, whole=False)
    found = [reader.feed(piece) for piece in pieces(long, b"short", deflate=Deflate())]
    assert found == [Message(b'{"a":"","b":"short","c":""}'), Message(b"short")]


def test_a_provider_s_message_whose_skeleton_is_too_long_is_clipped_and_the_next_one_is_read() -> None:
    long = b"[" + b"{}," * 1_000_000 + b"0]"
    reader = MessageReader(Inflater(takeover=True), limit=60_000, whole=False)
    found = [reader.feed(piece) for piece in pieces(long, b"short", deflate=Deflate())]
    assert found == [Message(long[:CLIP], long[-CLIP:], clipped=True), Message(b"short")]


def test_a_client_s_message_that_inflates_too_far_ends_the_connection() -> None:
    reader = MessageReader(Inflater(takeover=True), limit=1 << 20, whole=True)
    with pytest.raises(FrameError) as raised:
        for piece in pieces(bytes(64 << 20), deflate=Deflate()):
            reader.feed(piece)
    assert raised.value.code == 1009


def test_a_message_that_is_not_compressed_as_declared_ends_the_connection() -> None:
    scanner = Scanner(masked=False, compression=True)
    (piece,) = scanner.feed(frame(b"\xff\xff\xff", masked=False, compressed=True))
    with pytest.raises(FrameError) as raised:
        MessageReader(Inflater(takeover=True), limit=100, whole=True).feed(piece)
    assert raised.value.code == 1007


def test_a_message_of_countless_final_blocks_ends_the_connection() -> None:
    reader = MessageReader(Inflater(takeover=True), limit=1000, whole=True)
    (piece,) = Scanner(masked=False, compression=True).feed(frame(b"\3\0" * 100, masked=False, compressed=True))
    with pytest.raises(FrameError) as raised:
        reader.feed(piece)
    assert raised.value.code == 1007


def test_a_window_that_is_not_taken_over_begins_anew() -> None:
    def alone(text: bytes) -> bytes:
        deflate = zlib.compressobj(wbits=-15)
        return (deflate.compress(text) + deflate.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\0\0\xff\xff")

    scanner = Scanner(masked=False, compression=True)
    reader = MessageReader(Inflater(takeover=False), limit=100, whole=True)
    for text in (b"hello hello hello", b"hello"):
        (piece,) = scanner.feed(frame(alone(text), masked=False, compressed=True))
        message = reader.feed(piece)
        assert message is not None
        assert message.text == text
