"""How a response over a WebSocket is accounted for, however its connection ends: the table of docs/websockets.md."""

import asyncio
import json
from decimal import Decimal
from typing import Any

import pytest

from shared import events
from tests.support.gateway_app import reset_connection
from tests.support.websocket_line import LIVE, REALTIME, RESPONSES, line
from tests.support.websocket_peers import CLOSE, Deflate, close, frame, text

CREATE = {"type": "response.create", "model": "gpt-4o", "input": "Tell me about the sea, please."}
USAGE = {"input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100}


def created(name: str = "resp_1") -> dict[str, Any]:
    return {"type": "response.created", "response": {"id": name, "model": "gpt-4o-2024-08-06"}}


def delta(words: str = "The sea is large and deep and blue.") -> dict[str, Any]:
    return {"type": "response.output_text.delta", "output_index": 0, "delta": words}


def ended(kind: str = "completed", name: str = "resp_1", **more: Any) -> dict[str, Any]:
    response = {"id": name, "model": "gpt-4o-2024-08-06", "usage": USAGE, **more}
    return {"type": f"response.{kind}", "response": response}


async def test_a_response_is_booked_before_the_frame_that_ends_it() -> None:
    async with line() as on:
        await on.ask(CREATE)
        (row,) = on.rows()
        assert row.outcome == events.INTERRUPTED, "its request is on disk before it is sent: a kill leaves this row"
        await on.answer(created(), delta())
        assert [each.outcome for each in on.rows()] == [events.INTERRUPTED]
        data = text(ended(), masked=False)
        await on.far.send(data[:-1])
        assert await on.client.exactly(len(data) - 1) == data[:-1]
        assert [each.outcome for each in on.rows()] == [events.INTERRUPTED]
        await on.far.send(data[-1:])
        await on.client.exactly(1)
        (row,) = on.rows()
        assert (row.outcome, row.status, row.stream, row.endpoint) == (events.COMPLETE, 200, True, "WS /v1/responses")
        assert (row.input_tokens, row.output_tokens, row.usage_source) == (1000, 100, "reported")
        assert row.cost == Decimal("0.0035")


WAYS = {
    "completed": ([ended()], events.COMPLETE, "reported", ""),
    "incomplete": ([ended("incomplete")], events.COMPLETE, "reported", ""),
    "failed": (
        [ended("failed", usage=None, error={"code": "server_error", "message": "x"})],
        events.UPSTREAM_ERROR,
        "estimated",
        "server_error",
    ),
    "error in its midst": (
        [{"type": "error", "status": 500, "error": {"type": "server_error", "code": "boom", "message": "x"}}],
        events.UPSTREAM_ERROR,
        "estimated",
        "boom",
    ),
    "error, then failed": (
        [
            {"type": "error", "status": 500, "error": {"type": "server_error", "code": "boom", "message": "x"}},
            ended("failed", usage=None, error={"code": "boom", "message": "x"}),
        ],
        events.UPSTREAM_ERROR,
        "estimated",
        "boom",
    ),
}


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("deflate", [False, True])
async def test_the_way_a_response_ends_is_in_its_row(name: str, deflate: bool) -> None:
    messages, outcome, source, error = WAYS[name]
    async with line(deflate=deflate) as on:
        await on.ask(CREATE)
        window = Deflate()
        for message in (created(), delta(), *messages):
            data = text(message, masked=False)
            if deflate:
                data = window.message(data[4 if len(data) > 127 else 2 :], masked=False)
            await on.far.send(data)
            assert await on.client.exactly(len(data)) == data
        (row,) = on.rows()
        assert (row.outcome, row.usage_source, row.error_type) == (outcome, source, error)
        assert row.cost is not None and row.cost > 0


# Members that strict JSON readers refuse, and servers write.
ODD_MEMBERS = {
    "half a surrogate pair": rb'"x":"\ud83d"',
    "not a number": b'"x":[NaN,-Infinity]',
    "a raw control character": b'"x":"a\x01b"',
    "nested deeply": b'"x":' + b"[" * 5000 + b"]" * 5000,
}


@pytest.mark.parametrize("member", ODD_MEMBERS.values(), ids=ODD_MEMBERS)
@pytest.mark.parametrize(
    ("path", "messages", "cost"),
    [
        (RESPONSES, (CREATE, created(), delta(), ended()), "0.0035"),
        (
            REALTIME,
            (
                {"type": "response.create"},
                {"type": "response.created", "response": {"id": "resp_1"}},
                {"type": "response.done", "response": {"id": "resp_1", "status": "completed", "usage": USAGE}},
            ),
            "0.0056",  # 1,000 at 4 and 100 at 16 dollars a million
        ),
    ],
    ids=["responses", "realtime"],
)
async def test_messages_that_strict_readers_refuse_are_accounted_for(
    path: str, messages: tuple[Any, ...], cost: str, member: bytes
) -> None:
    async with line(path) as on:
        for at, message in enumerate(messages):
            data = json.dumps(message).encode()
            data = frame(data[:-1] + b"," + member + b"}", masked=not at)
            sender, receiver = (on.far, on.client) if at else (on.client, on.far)
            await sender.send(data)
            assert await receiver.exactly(len(data)) == data
            assert len(on.rows()) == 1, "from its request on"
        (row,) = on.rows()
        assert (row.outcome, row.input_tokens, row.output_tokens) == (events.COMPLETE, 1000, 100)
        assert row.model_requested == ("gpt-4o" if path == RESPONSES else "gpt-realtime")
        assert row.cost == Decimal(cost)


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("deflate", [False, True])
async def test_usage_is_read_however_large_the_message_that_states_it(where: str, deflate: bool) -> None:
    picture = {"output": [{"type": "message", "content": [{"type": "output_text", "text": "A" * (9 << 20)}]}]}
    response = {"id": "resp_1", "model": "gpt-4o-2024-08-06"}
    usage = {"usage": USAGE}
    last = {
        "type": "response.completed",
        "response": response | (usage | picture if where == "before" else picture | usage),
    }
    async with line(deflate=deflate) as on:
        await on.ask(CREATE)
        await on.answer(created(), delta())
        data = text(last, masked=False)
        if deflate:
            data = Deflate().message(json.dumps(last).encode(), masked=False)
        await on.far.send(data)
        assert await on.client.exactly(len(data)) == data
        (row,) = on.rows()
        assert (row.outcome, row.input_tokens, row.output_tokens) == (events.COMPLETE, 1000, 100)
        assert row.cost == Decimal("0.0035")


async def test_a_request_that_the_provider_refuses_costs_nothing() -> None:
    async with line() as on:
        await on.ask(CREATE)
        await on.answer({"type": "error", "status": 429, "error": {"code": "rate_limit_exceeded", "message": "slow"}})
        (row,) = on.rows()
        assert (row.status, row.error_type, row.cost, row.outcome) == (429, "rate_limit_exceeded", 0, events.COMPLETE)
        await on.ask(CREATE)  # and the connection goes on
        await on.answer(created(), ended())
        assert [each.cost for each in on.rows()] == [0, Decimal("0.0035")]


# Who ends the connection, and how; the outcome of the response in progress, and the code that the other side sees.
KILLS = {
    "client closes": ("client", "close", events.CLIENT_CLOSED),
    "client is gone": ("client", "leave", events.CLIENT_CLOSED),
    "client is reset": ("client", "vanish", events.CLIENT_CLOSED),
    "provider closes": ("far", "close", events.UPSTREAM_CLOSED),
    "provider is gone": ("far", "leave", events.UPSTREAM_CLOSED),
    "provider is reset": ("far", "vanish", events.UPSTREAM_CLOSED),
    "gateway stops": ("gateway", "close", events.INTERRUPTED),
}
CONVERSATION: tuple[tuple[bool, Any], ...] = (
    (True, CREATE),
    (False, created()),
    (False, delta()),
    (False, ended()),
    (True, {**CREATE, "previous_response_id": "resp_1", "input": "And the land?"}),
    (False, created("resp_2")),
    (False, delta("It is dry.")),
    (False, ended(name="resp_2")),
)


@pytest.mark.parametrize("kill", KILLS)
@pytest.mark.parametrize("played", range(len(CONVERSATION) + 1))
async def test_whoever_leaves_at_whatever_frame_each_response_has_its_row(kill: str, played: int) -> None:
    who, how, outcome = KILLS[kill]
    async with line() as on:
        for from_client, message in CONVERSATION[:played]:
            await (on.ask(message) if from_client else on.answer(message))
        killed = {"client": on.client, "far": on.far}.get(who)
        other = on.far if who == "client" else on.client
        if killed is None:
            closing = asyncio.create_task(on.gateway.proxy.websockets.connections.close())
            assert await on.client.close_code() == 1012
            on.client.leave()
            await closing
        elif how == "close":
            await killed.send(close(4001, masked=who == "client"))
            assert (await other.frame())[0] == CLOSE
            await other.send(close(4001, masked=who != "client"))
        else:
            killed.leave() if how == "leave" else reset_connection(killed.writer)
        await other.ended()
        asked = sum(from_client for from_client, _ in CONVERSATION[:played])
        whole = sum(
            not from_client and "completed" in message["type"] for from_client, message in CONVERSATION[:played]
        )
        found = on.rows()
        assert [row.outcome for row in found] == [events.COMPLETE] * whole + [outcome] * (asked - whole)
        for row in found[whole:]:
            assert row.usage_source == "estimated"
            assert row.cost is not None and row.cost > 0
            assert row.input_tokens is not None
            assert (row.input_tokens > 1100) == (whole == 1), "what an earlier response of the connection used is input"
        assert on.gateway.proxy.active == 0


async def test_a_realtime_conversation_is_priced_by_class_and_billed_per_response() -> None:
    session = {"model": "gpt-realtime", "audio": {"input": {"transcription": {"model": "gpt-4o-mini-transcribe"}}}}
    usage = {
        "input_tokens": 1000, "output_tokens": 300, "total_tokens": 1300,
        "input_token_details": {
            "text_tokens": 400, "audio_tokens": 500, "image_tokens": 100, "cached_tokens": 300,
            "cached_tokens_details": {"text_tokens": 100, "audio_tokens": 200, "image_tokens": 0},
        },
        "output_token_details": {"text_tokens": 100, "audio_tokens": 200},
    }  # fmt: skip
    heard = {
        "type": "conversation.item.input_audio_transcription.completed",
        "transcript": "hello",
        "usage": {"type": "tokens", "input_tokens": 100, "output_tokens": 10, "total_tokens": 110,
                  "input_token_details": {"text_tokens": 0, "audio_tokens": 100}},
    }  # fmt: skip
    async with line(REALTIME) as on:
        await on.answer({"type": "session.created", "session": session})
        await on.ask({"type": "input_audio_buffer.append", "audio": "AAAA"})
        await on.answer(heard, {"type": "response.created", "response": {"id": "r1"}})  # the provider begins by itself
        await on.ask({"type": "response.create", "response": {"conversation": "none"}})
        await on.answer(
            {"type": "response.created", "response": {"id": "r2"}},
            {"type": "response.done", "response": {"id": "r2", "status": "cancelled", "usage": usage}},
            {"type": "response.done", "response": {"id": "r1", "status": "completed", "usage": usage}},
        )
        transcribed, *answered = on.rows()
        assert [row.model_requested for row in on.rows()] == ["gpt-4o-mini-transcribe", "gpt-realtime", "gpt-realtime"]
        assert transcribed.cost == Decimal("0.00035")  # 100 of audio at $3, 10 of text at $5 a million
        for row in answered:
            assert row.outcome == events.COMPLETE
            assert row.audio_tokens == 700
            # text 300 at $4, audio 300 at $32, image 100 at $5, cached 300 at $0.40; written text 100 at $16, audio 200 at $64
            assert row.cost == Decimal("0.0012") + Decimal("0.0096") + Decimal("0.0005") + Decimal("0.00012") + Decimal(
                "0.0016"
            ) + Decimal("0.0128")


async def test_errors_of_a_realtime_conversation_belong_to_the_request_that_they_name() -> None:
    async with line(REALTIME) as on:
        await on.ask({"type": "response.create", "event_id": "a"})
        await on.ask({"type": "response.create", "event_id": "b"})
        busy = {"type": "invalid_request_error", "code": "conversation_already_has_active_response", "event_id": "b"}
        await on.answer({"type": "response.created", "response": {"id": "r1"}}, {"type": "error", "error": busy})
        await on.answer({"type": "error", "error": {"type": "invalid_request_error", "code": "other", "event_id": "x"}})
        await on.answer({"type": "response.done", "response": {"id": "r1", "status": "completed", "usage": USAGE}})
        first, second = on.rows()
        assert (first.outcome, first.input_tokens) == (events.COMPLETE, 1000)
        assert (second.status, second.error_type, second.cost) == (400, busy["code"], 0)


async def test_a_live_conversation_is_billed_per_turn() -> None:
    def usage(*, prompt: int, made: int) -> dict[str, Any]:
        modality = {"modality": "AUDIO", "tokenCount": made}
        counts = {"promptTokenCount": prompt, "responseTokenCount": made, "totalTokenCount": prompt + made}
        return {**counts, "responseTokensDetails": [modality]}

    def says(words: str) -> dict[str, Any]:
        return {"serverContent": {"modelTurn": {"parts": [{"text": words}]}}}

    async with line(LIVE) as on:
        await on.ask({"setup": {"model": "models/gemini-3.8-live"}})
        await on.answer({"setupComplete": {}})
        turn = {"role": "user", "parts": [{"text": "Hi"}]}
        await on.ask({"clientContent": {"turns": [turn], "turnComplete": True}})
        await on.answer({"toolCall": {"functionCalls": [{"name": "f"}]}, "usageMetadata": usage(prompt=100, made=10)})
        await on.ask({"toolResponse": {"functionResponses": []}})
        await on.answer(says("a"), {"serverContent": {"turnComplete": True}})
        assert [row.outcome for row in on.rows()] == [events.COMPLETE, events.INTERRUPTED], "its usage is still to come"
        await on.answer({"usageMetadata": usage(prompt=200, made=20)})
        await on.ask({"realtimeInput": {"audio": {"data": "AAAA"}}})
        await on.answer({"serverContent": {"inputTranscription": {"text": "hm"}}}, says("b"))
        await on.answer({"serverContent": {"turnComplete": True}, "usageMetadata": usage(prompt=300, made=30)})
        assert [(row.outcome, row.input_tokens, row.output_tokens, row.audio_tokens) for row in on.rows()] == [
            (events.COMPLETE, 100, 10, 10),
            (events.COMPLETE, 200, 20, 20),
            (events.COMPLETE, 300, 30, 30),
        ]
        assert {row.model_requested for row in on.rows()} == {"gemini-3.8-live"}
        # prompt at $0.75, audio at $12 a million
        assert on.rows()[0].cost == Decimal("0.000075") + Decimal("0.00012")


async def test_a_voice_response_that_is_cut_off_has_no_invented_cost() -> None:
    async with line(REALTIME) as on:
        await on.answer({"type": "response.created", "response": {"id": "r1"}})
        await on.answer({"type": "response.output_audio.delta", "response_id": "r1", "delta": "AAAA"})
        on.client.leave()
        await on.over()
        (row,) = on.rows()
        assert (row.outcome, row.cost, bool(row.cost_reason)) == (events.CLIENT_CLOSED, None, True)


async def test_a_request_that_only_prepares_another_one_is_not_estimated() -> None:
    async with line(on_disconnect="cancel") as on:
        await on.ask({**CREATE, "generate": False})
        on.client.leave()
        await on.over()
        (row,) = on.rows()
        assert (row.outcome, row.cost, row.usage_source) == (events.CLIENT_CLOSED, None, "absent")
