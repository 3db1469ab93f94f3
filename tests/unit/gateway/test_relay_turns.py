"""A response that arrives faster than it is read must not keep the other requests waiting."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from multidict import CIMultiDict

from services.gateway import relay as relay_module
from services.gateway import response_head
from services.gateway.relay import Relay
from services.gateway.settings import Settings

TURN = 128 << 10
COMPRESSED_TURN = 16 << 10  # bytes, which may become 50 times as many


class Buffered:
    """A response body that is at hand: no read of it ever suspends."""

    def __init__(self, chunks: list[bytes], turns: list[int]) -> None:
        self.chunks = chunks
        self.turns = turns
        self.turn_of_chunk: list[int] = []  # loop turns that had passed when each chunk was read

    async def readany(self) -> bytes:
        self.turn_of_chunk.append(self.turns[0])
        return self.chunks.pop(0) if self.chunks else b""

    async def read(self, size: int) -> bytes:
        chunk = await self.readany()
        if len(chunk) > size:
            self.chunks.insert(0, chunk[size:])
        return chunk[:size]

    def at_eof(self) -> bool:
        return not self.chunks


class Client:
    """A client whose connection takes every write at once."""

    def __init__(self) -> None:
        self.got = 0

    async def prepare(self, _: object) -> None:
        pass

    async def write(self, data: bytes) -> None:
        self.got += len(data)

    write_eof = write


class Accounts:
    """The accounting of a request, without any."""

    def __init__(self) -> None:
        self.envelope = SimpleNamespace(stream=False)
        self.prompt = None
        self.response_bytes = 0
        self.finished = False
        self.writing = False
        self.tap = SimpleNamespace(ended=False)

    def receive(self, data: bytes) -> None:
        self.response_bytes += len(data)

    def finish(self, _: str) -> None:
        self.finished = True


@pytest.mark.parametrize(
    ("size", "encoding", "turn"),
    [(1 << 10, "", TURN), (64 << 10, "", TURN), (1 << 20, "", TURN), (1 << 20, "gzip", COMPRESSED_TURN)],
)
def test_other_requests_get_a_turn_within_a_buffered_response(
    monkeypatch: pytest.MonkeyPatch, size: int, encoding: str, turn: int
) -> None:
    client = Client()
    monkeypatch.setattr(response_head, "build", lambda *_, **__: client)
    monkeypatch.setattr(relay_module, "client_left", lambda _: False)
    monkeypatch.setattr(relay_module, "stop_timer", lambda _: None)
    monkeypatch.setattr(Relay, "_read_head", lambda *_: None)
    monkeypatch.setattr(Relay, "_watch", lambda *_: None)
    metrics: Any = SimpleNamespace(failures=None)
    upstream: Any = None
    relay = Relay(Settings(nats_url=""), upstream=upstream, metrics=metrics)
    turns = [0]
    content = Buffered([b"x" * size] * ((4 << 20) // size), turns)
    context: Any = SimpleNamespace(exchange=Accounts(), body_editor=None, recorder=None, request=None)
    response: Any = SimpleNamespace(
        headers=CIMultiDict({"Content-Encoding": encoding} if encoding else {}), content=content, status=200
    )

    async def count() -> None:
        while True:
            turns[0] += 1
            await asyncio.sleep(0)

    async def run() -> None:
        other = asyncio.create_task(count())
        await relay.relay(context, response)
        other.cancel()

    asyncio.run(run())
    assert client.got == 4 << 20
    in_one_turn = max(map(content.turn_of_chunk.count, content.turn_of_chunk))
    assert in_one_turn <= turn // size + 1
    assert not encoding or len(set(content.turn_of_chunk)) >= (4 << 20) // turn
