"""Frames pass unchanged in both directions, whatever they are and however they are cut into packets."""

import asyncio
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.events import RequestEvent, ResponseEvent
from tests.support.certificates import certificates_in
from tests.support.examples import examples
from tests.support.gateway_app import system
from tests.support.websocket_peers import (
    BINARY,
    CONTINUATION,
    DEFLATE,
    PING,
    PONG,
    TEXT,
    Deflate,
    Socket,
    close,
    connect,
    frame,
    header,
    provider,
)

PATHS = {
    "openai": "/api/proxy/openai/v1/responses",
    "grok": "/api/proxy/grok/v1/realtime?model=grok-voice-latest",
    "gemini": "/api/proxy/gemini/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent",
}
EVENTS = (
    {"type": "response.create", "model": "gpt-4o", "input": "hello"},
    {"type": "session.update", "session": {"instructions": "be brief"}},
    {"setup": {"model": "models/gemini-3.8-live"}},
    {"clientContent": {"turns": [], "turnComplete": True}},
    {"type": "response.created", "response": {"id": "r1", "model": "gpt-4o"}},
    {"type": "response.output_text.delta", "delta": "hello", "response_id": "r1"},
    {"type": "response.completed", "response": {"id": "r1", "usage": {"input_tokens": 1, "output_tokens": 2}}},
    {"type": "response.done", "response": {"id": "r1", "status": "completed", "usage": None}},
    {"type": "error", "status": 400, "error": {"message": "no"}},
    {"serverContent": {"modelTurn": {"parts": [{"text": "hi"}]}}},
    {"serverContent": {"turnComplete": True}, "usageMetadata": {"promptTokenCount": 3, "responseTokenCount": 2}},
)
PAYLOADS = st.one_of(
    st.sampled_from([json.dumps(event).encode() for event in EVENTS]),
    st.binary(max_size=200),
    st.integers(100, 70_000).map(lambda size: b"x" * size),
)
MESSAGES = st.one_of(
    st.tuples(st.sampled_from(["text", "binary", "compressed"]), PAYLOADS),
    st.tuples(st.just("fragmented"), st.lists(PAYLOADS, min_size=2, max_size=4)),
    st.tuples(st.sampled_from(["ping", "pong"]), st.binary(max_size=125)),
)
STEPS = st.lists(st.tuples(st.booleans(), st.lists(MESSAGES, min_size=1, max_size=4)), max_size=6)
Steps = list[tuple[bool, list[tuple[str, object]]]]
CODES = st.sampled_from([1000, 1001, 1008, 1011, 1013, 3000, 4999])


def encoded(message: tuple[str, object], deflate: Deflate | None, *, masked: bool) -> bytes:
    """A message's frames: what is compressed falls back to plain text where compression was not negotiated."""
    kind, value = message
    if kind == "fragmented":
        assert isinstance(value, list)
        frames = [frame(value[0], TEXT, masked=masked, final=False), frame(b"between", PING, masked=masked)]
        frames += [frame(part, CONTINUATION, masked=masked, final=False) for part in value[1:-1]]
        return b"".join([*frames, frame(value[-1], CONTINUATION, masked=masked)])
    assert isinstance(value, bytes)
    if kind == "compressed" and deflate is not None:
        return deflate.message(value, masked=masked)
    opcode = {"binary": BINARY, "ping": PING, "pong": PONG}.get(kind, TEXT)
    return frame(value, opcode, masked=masked)


class Harness:
    """A gateway and its provider on an event loop of their own: hypothesis calls synchronous tests."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._stack = contextlib.AsyncExitStack()
        self.loop.run_until_complete(self._start())

    async def _start(self) -> None:
        self.upstream = await self._stack.enter_async_context(provider())
        urls: dict[str, Any] = {f"upstream_{name}": f"http://127.0.0.1:{self.upstream.port}" for name in PATHS}
        self.gateway = await self._stack.enter_async_context(system(max_body_bytes=1 << 20, **urls))

    def close(self) -> None:
        self.loop.run_until_complete(self._stack.aclose())
        self.loop.close()


@pytest.fixture(scope="module")
def harness() -> Iterator[Harness]:
    found = Harness()
    yield found
    found.close()


async def send_in_packets(sender: Socket, data: bytes, cuts: list[int]) -> None:
    start = 0
    for cut in sorted({cut % (len(data) + 1) for cut in cuts}):
        await sender.send(data[start:cut])
        await asyncio.sleep(0)
        start = cut
    await sender.send(data[start:])


@settings(max_examples=examples(50), deadline=None, suppress_health_check=list(HealthCheck))
@given(
    name=st.sampled_from(sorted(PATHS)),
    deflate=st.booleans(),
    steps=STEPS,
    cuts=st.lists(st.integers(0, 100_000), max_size=5),
    client_closes=st.booleans(),
    code=CODES,
)
def test_both_sides_get_exactly_the_frames_that_the_other_sent(
    harness: Harness,
    name: str,
    deflate: bool,
    steps: Steps,
    cuts: list[int],
    client_closes: bool,
    code: int,
) -> None:
    talking = converse(harness, name, deflate=deflate, steps=steps, cuts=cuts, client_closes=client_closes, code=code)
    harness.loop.run_until_complete(talking)


async def converse(
    harness: Harness, name: str, *, deflate: bool, steps: Steps, cuts: list[int], client_closes: bool, code: int
) -> None:
    """Play a conversation through the gateway, and compare every byte."""
    harness.gateway.events.clear()
    client = await connect(harness.gateway.port, PATHS[name], deflate=deflate)
    far = await harness.upstream.sockets.get()
    assert (DEFLATE in header(client.head, "Sec-WebSocket-Extensions")) is deflate
    windows = {side: Deflate() if deflate else None for side in (True, False)}
    for from_client, messages in steps:
        sender, receiver = (client, far) if from_client else (far, client)
        data = b"".join(encoded(message, windows[from_client], masked=from_client) for message in messages)
        sending = asyncio.create_task(send_in_packets(sender, data, cuts))
        assert await receiver.exactly(len(data)) == data
        await sending
    first, second = (client, far) if client_closes else (far, client)
    farewell, answer = close(code, "bye", masked=client_closes), close(code, "bye", masked=not client_closes)
    await first.send(farewell)
    assert await second.exactly(len(farewell)) == farewell
    await second.send(answer)
    assert await first.exactly(len(answer)) == answer
    await asyncio.gather(client.ended(), far.ended())
    client.leave()
    far.leave()
    asked = [event.envelope.id for event in harness.gateway.events if isinstance(event, RequestEvent)]
    ended = [event.envelope.id for event in harness.gateway.events if isinstance(event, ResponseEvent)]
    assert sorted(asked) == sorted(ended), "every response that began has exactly one end"


@pytest.mark.parametrize("deflate", [False, True])
async def test_frames_pass_unchanged_to_a_provider_over_tls(tmp_path: Path, deflate: bool) -> None:
    files = certificates_in(tmp_path)
    async with provider(files.server()) as upstream:
        url = f"https://127.0.0.1:{upstream.port}"
        async with system(upstream_openai=url, ca_file=str(files.authority), max_body_bytes=1 << 20) as gateway:
            client = await connect(gateway.port, PATHS["openai"], deflate=deflate)
            far = await upstream.sockets.get()
            for sender, receiver, masked in ((client, far, True), (far, client, False)):
                sent = frame(b"x" * 300_000, masked=masked) + frame(b"ping", PING, masked=masked)
                sending = asyncio.create_task(sender.send(sent))
                assert await receiver.exactly(len(sent)) == sent
                await sending
            client.leave()
            await far.ended()
            far.leave()
        async with system(upstream_openai=url) as gateway:
            stranger = await connect(gateway.port, PATHS["openai"])
            assert stranger.head.startswith(b"HTTP/1.1 502 "), "its authority is unknown"
            stranger.leave()
