"""A stream that is broken off, by either side, at every point: one pair of events, and a row that says what is known.

`after` counts the provider's events that had come: -1 is before the head of the answer, 0 after it.
"""

import asyncio
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple

import pytest

from services.logger import rows
from services.logger.rows import ResponseRow
from shared import events as event_types
from shared.events import RequestEvent, ResponseEvent
from tests.support import paths
from tests.support.gateway_app import System, request, reset_connection, system

RECORDINGS = paths.RECORDINGS
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
CHAT = {"model": "gpt-4o-mini", "stream": True, "messages": [{"role": "user", "content": "When does the tide turn?"}]}
OPENAI = "/api/proxy/openai/v1/chat/completions"
GEMINI = {"contents": [{"role": "user", "parts": [{"text": "When does the tide turn?"}]}]}


def recorded(file: str) -> list[bytes]:
    data = (RECORDINGS / file).read_bytes()
    end = b"\r\n\r\n" if b"\r\n\r\n" in data else b"\n\n"
    return [event + end for event in data.split(end) if event.strip()]


def grok() -> list[bytes]:
    """A stream of Grok's that holds what the recorded answer says."""
    whole = json.loads((RECORDINGS / "xai/chat.json").read_bytes())
    head = {name: whole[name] for name in ("id", "created", "model")} | {"object": "chat.completion.chunk"}
    message = whole["choices"][0]["message"]["content"]
    deltas = [{"role": "assistant", "content": message[:8]}, {"content": message[8:]}]
    chunks: list[dict[str, Any]] = [{**head, "choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    chunks.append({**head, "choices": [], "usage": whole["usage"]})
    return [b"data: " + json.dumps(one).encode() + b"\n\n" for one in chunks] + [b"data: [DONE]\n\n"]


class Stream(NamedTuple):
    """`told`: after how many of its events the usage is known for good; None when it never is, or only at the end."""

    path: str
    body: dict[str, Any]
    events: list[bytes]
    told: int | None
    cost: str  # of the whole, in USD
    says_end: bool = True
    include_usage: bool = True

    @property
    def count(self) -> int:  # type: ignore[override]
        return len(self.events)


def stream(path: str, body: dict[str, Any], events: list[bytes], before_end: int | None, cost: str) -> Stream:
    return Stream(path, body, events, None if before_end is None else len(events) - before_end, cost)


ASKED = CHAT | {"stream_options": {"include_usage": True}}
MESSAGES = CHAT | {"model": "claude-sonnet-5-5", "max_tokens": 99}
STREAMS = {
    "anthropic": stream("/api/proxy/v1/messages", MESSAGES, recorded("anthropic/messages_stream.sse"), 1, "0.0060496"),
    "anthropic tools": stream(
        "/api/proxy/v1/messages", MESSAGES, recorded("anthropic/messages_stream_tools.sse"), 1, "0.000917"
    ),
    "openai, the client asks for usage": stream(
        OPENAI, ASKED, recorded("openai/chat_stream_usage.sse"), 1, "0.0000093"
    ),
    "openai, the gateway asks": stream(OPENAI, CHAT, recorded("openai/chat_stream_usage.sse"), 1, "0.0000093"),
    "openai, nobody asks": stream(OPENAI, CHAT, recorded("openai/chat_stream_nousage.sse"), None, "")._replace(
        include_usage=False
    ),
    "responses": stream(
        "/api/proxy/openai/v1/responses",
        {"model": "gpt-6.1-terra", "stream": True, "input": "When does the tide turn?"},
        recorded("openai/responses_stream.sse"),
        0,
        "0.000127",
    ),
    "gemini": Stream(
        "/api/proxy/gemini/v1beta/models/gemini-3.8-flash:streamGenerateContent?alt=sse",
        GEMINI,
        recorded("gemini/stream.sse"),
        None,
        "0.00038325",
        says_end=False,
    ),
    "mistral": stream(
        "/api/proxy/mistral/v1/chat/completions",
        CHAT | {"model": "mistral-medium-3.5"},
        recorded("mistral/chat_stream.sse"),
        1,
        "0.000075",
    ),
    "grok": stream("/api/proxy/grok/v1/chat/completions", ASKED | {"model": "grok-4.7"}, grok(), 1, "0.003"),
}
Expected = tuple[str, str]  # outcome, usage source


class Script:
    """A provider that sends the head and the first events, waits until it may go on, and ends as it is told to."""

    def __init__(self, chosen: Stream, after: int, end: str) -> None:
        self._before = b"" if after < 0 else HEAD + b"".join(chunk(event) for event in chosen.events[:after])
        self._rest = chosen.events[max(after, 0) :]
        self._head, self._end = b"" if self._before else HEAD, end
        self.paused, self.go = asyncio.Event(), asyncio.Event()

    async def __call__(self, writer: asyncio.StreamWriter, _: bytes) -> None:
        writer.write(self._before)
        await writer.drain()
        self.paused.set()
        await self.go.wait()
        if self._end == "whole":
            writer.write(self._head + b"".join(chunk(event) for event in self._rest) + b"0\r\n\r\n")
        elif self._end == "early":
            writer.write(self._head + b"0\r\n\r\n")
        else:
            writer.transport.abort()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.002)


def came(gateway: System, size: int) -> bool:
    """Whether so many bytes of the one answer under way were read by the gateway."""
    return size == 0 or any(exchange.response_bytes >= size for exchange in gateway.proxy.relay.watchdog._open)


async def broken(gateway: System, chosen: Stream, after: int, *, end: str, leave: bool) -> ResponseRow:
    """The row of a request whose client, or else whose provider, breaks it off; `end` is the provider's."""
    gateway.events.clear()
    gateway.upstream.respond = script = Script(chosen, after, end)
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(request(path=chosen.path, body=json.dumps(chosen.body).encode()))
    await asyncio.wait_for(script.paused.wait(), 60)
    if after >= 0:
        await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
    await until(lambda: came(gateway, len(b"".join(chosen.events[: max(after, 0)]))))
    if leave:
        reset_connection(writer)
        await until(lambda: not gateway.clients)
    script.go.set()
    await until(lambda: gateway.proxy.active == 0 and len(gateway.events) >= 2)
    reset_connection(writer)
    await until(lambda: not gateway.clients)
    first, last = gateway.events
    assert isinstance(first, RequestEvent) and isinstance(last, ResponseEvent), "one pair, in order"
    assert first.envelope.id == last.envelope.id and b"tide" not in event_types.encode(last), "and no content"
    row = rows.response_row(last, estimate=gateway.proxy.relay._settings.estimate)
    assert isinstance(row, ResponseRow)
    return row


def known(chosen: Stream, after: int) -> str:
    """The usage source of an answer that was cut there."""
    return "reported" if chosen.told is not None and after >= chosen.told else "estimated"


def left_and_drained(chosen: Stream, after: int) -> Expected:
    whole = "estimated" if not chosen.include_usage else "reported" if after == chosen.count else "drained"
    return (event_types.COMPLETE if after == chosen.count else event_types.CLIENT_CLOSED), whole


def left_and_cancelled(chosen: Stream, after: int) -> Expected:
    if after < 0:
        return event_types.CLIENT_CLOSED, "absent"
    if after == chosen.count and chosen.says_end:
        return event_types.COMPLETE, known(chosen, after)
    return event_types.CLIENT_CLOSED, known(chosen, after)


def broken_off(chosen: Stream, after: int) -> Expected:
    if after < 0:
        return event_types.UPSTREAM_ERROR, "absent"
    if after == chosen.count and chosen.says_end:
        return event_types.COMPLETE, known(chosen, after)
    return event_types.UPSTREAM_CLOSED, known(chosen, after)


def ended_early(chosen: Stream, after: int) -> Expected:
    if not chosen.says_end and after < 1:  # Gemini's end is told by a candidate's: there was none
        return event_types.COMPLETE, "estimated"
    if not chosen.says_end and after == chosen.count:
        return event_types.COMPLETE, "reported"
    if after == chosen.count or lacks_only_its_end(chosen, after):
        return event_types.COMPLETE, known(chosen, after)
    return event_types.UPSTREAM_CLOSED, known(chosen, after)


def lacks_only_its_end(chosen: Stream, after: int) -> bool:
    """Whether a reason to finish and the usage have come: compatible servers end there, without the last event."""
    sent = b"".join(chosen.events[: max(after, 0)])
    return known(chosen, after) == "reported" and (b'"finish_reason":"' in sent or b'"stop_reason":"' in sent)


WAYS: dict[str, tuple[Callable[[Stream, int], Expected], dict[str, Any], dict[str, Any]]] = {
    "the client leaves and the answer is drained": (left_and_drained, {"end": "whole", "leave": True}, {}),
    "the client leaves and the answer is cancelled": (
        left_and_cancelled,
        {"end": "whole", "leave": True},
        {"on_disconnect": "cancel"},
    ),
    "the provider breaks off": (broken_off, {"end": "cut", "leave": False}, {}),
    "the provider ends early": (ended_early, {"end": "early", "leave": False}, {}),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", STREAMS)
async def test_a_stream_broken_off_anywhere_is_recorded_once_and_says_what_is_known(name: str, way: str) -> None:
    chosen, (expected, how, settings) = STREAMS[name], WAYS[way]
    async with system(mistral=True, include_usage=chosen.include_usage, **settings) as gateway:
        outputs = [0]
        for after in range(-1, chosen.count + 1):
            row = await broken(gateway, chosen, after, **how)
            assert (row.outcome, row.usage_source) == expected(chosen, after), after
            if row.usage_source in ("reported", "drained") and (
                row.outcome != event_types.COMPLETE or after == chosen.count
            ):
                assert row.cost == Decimal(chosen.cost), after
            elif row.usage_source == "absent":
                assert (row.cost, row.cost_source, row.cost_reason) == (None, "none", "broken_stream")
            elif row.usage_source == "estimated":
                assert row.cost_source == "estimated" and row.cost_reason.startswith("estimated:"), after
                assert row.cost is not None and row.cost == sum(row.cost_by_class.values(), Decimal(0)) > 0
                outputs.append(row.output_tokens or 0)
        assert outputs == sorted(outputs), "the more had come, the more it was"


@pytest.mark.parametrize("name", STREAMS)
async def test_with_estimates_off_what_the_provider_did_not_say_is_unknown(name: str) -> None:
    chosen = STREAMS[name]
    async with system(mistral=True, include_usage=chosen.include_usage, estimate=False) as gateway:
        for after in range(chosen.count + 1):
            row = await broken(gateway, chosen, after, end="cut", leave=False)
            assert gateway.events.last.evidence.estimate is None
            if known(chosen, after) == "reported":
                assert (row.usage_source, row.cost) == ("reported", Decimal(chosen.cost))
            else:
                assert row.usage_source in ("partial", "absent") and row.cost is None, after
                assert row.cost_reason in ("broken_stream", "usage_absent")


@pytest.mark.parametrize("end", ["cut", "early"])
@pytest.mark.parametrize("name", ["anthropic", "openai, the gateway asks", "responses", "mistral", "grok"])
async def test_a_response_that_breaks_off_while_it_is_drained_is_not_drained(name: str, end: str) -> None:
    chosen = STREAMS[name]
    left, noticed = asyncio.Event(), asyncio.Event()

    async def answer(writer: asyncio.StreamWriter, _: bytes) -> None:
        writer.write(HEAD + chunk(chosen.events[0]))
        await left.wait()
        writer.write(chunk(chosen.events[1]))
        await noticed.wait()
        if end == "early":
            writer.write(b"0\r\n\r\n")
        else:
            writer.transport.abort()

    async with system(mistral=True) as gateway:
        gateway.upstream.respond = answer
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(request(path=chosen.path, body=json.dumps(chosen.body).encode()))
        await asyncio.wait_for(reader.readuntil(b"data: "), 60)
        reset_connection(writer)
        await until(lambda: not gateway.clients)
        left.set()
        await until(lambda: gateway.proxy._metrics.draining)
        noticed.set()
        await until(lambda: gateway.proxy.active == 0)
        row = rows.response_row(gateway.events.last)
        assert (len(gateway.events), gateway.events.last.drained) == (2, False)
        assert (row.outcome, row.usage_source) == (event_types.CLIENT_CLOSED, "estimated")


@pytest.mark.parametrize("on_disconnect", ["drain", "cancel"])
@pytest.mark.parametrize("leave", [True, False])
async def test_gemini_streaming_as_one_array_is_cut_like_its_events(leave: bool, on_disconnect: str) -> None:
    head = HEAD.replace(b"text/event-stream", b"application/json")
    events = [event.removeprefix(b"data: ").strip() for event in STREAMS["gemini"].events]
    pieces = [b"[" + events[0], *(b",\r\n" + event for event in events[1:]), b"]"]
    for after in range(1, len(pieces)):
        go = asyncio.Event()

        async def answer(writer: asyncio.StreamWriter, _: bytes, after: int = after, go: asyncio.Event = go) -> None:
            writer.write(head + b"".join(chunk(piece) for piece in pieces[:after]))
            await go.wait()
            if leave:
                writer.write(b"".join(chunk(piece) for piece in pieces[after:]) + b"0\r\n\r\n")
            else:
                writer.transport.abort()

        async with system(on_disconnect=on_disconnect) as gateway:
            gateway.upstream.respond = answer
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            path = STREAMS["gemini"].path.partition("?")[0]
            writer.write(request(path=path, body=json.dumps(GEMINI).encode()))
            await asyncio.wait_for(reader.readuntil(events[after - 1]), 60)
            if leave:
                reset_connection(writer)
                await until(lambda gateway=gateway: not gateway.clients)
            go.set()
            await until(lambda gateway=gateway: gateway.proxy.active == 0)
            row = rows.response_row(gateway.events.last)
            drained = leave and on_disconnect == "drain"
            assert (row.outcome, row.usage_source) == (
                event_types.CLIENT_CLOSED if leave else event_types.UPSTREAM_CLOSED,
                "drained" if drained else "estimated",
            )
            assert (row.input_tokens, row.output_tokens) == (31, 96 if drained else [90, 92, 96][after - 1])


ERRORS = {
    "anthropic": "anthropic/messages_stream_error.sse",
    "openai, the gateway asks": "openai/chat_stream_error.sse",
    "responses": "openai/responses_stream_error.sse",
    "gemini": "gemini/stream_error.sse",
    "mistral": "mistral/chat_stream_error.sse",
    "grok": "xai/chat_stream_error.sse",
}


@pytest.mark.parametrize("name", ERRORS)
async def test_an_error_after_the_first_word_is_estimated_and_before_it_unknown(name: str) -> None:
    events = recorded(ERRORS[name])
    async with system(mistral=True) as gateway:
        for said, source in ((events, "estimated"), (events[-1:], "partial")):
            chosen = STREAMS[name]._replace(events=said)
            row = await broken(gateway, chosen, len(said), end="whole", leave=False)
            assert (row.outcome, row.usage_source) == (event_types.UPSTREAM_ERROR, source)
            assert (row.cost is None) == (source == "partial") and row.error_type and row.error_message


async def test_complete_stream_without_requested_usage_is_estimated() -> None:
    chosen = STREAMS["openai, nobody asks"]
    async with system(include_usage=False) as gateway:
        row = await broken(gateway, chosen, chosen.count, end="whole", leave=False)
        assert (row.input_tokens, row.output_tokens) == (6 + 1 + 3 + 3, 8), "text, role, what OpenAI puts around; text"
        assert (row.outcome, row.usage_source, row.cost_reason) == ("complete", "estimated", "estimated:input,output")
