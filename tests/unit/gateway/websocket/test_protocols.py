"""Protocols over WebSockets: what a message means, and that no message is too odd to be passed on."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.dialects import DIALECTS
from services.gateway.request.errors import Refusal
from services.gateway.usage import token_estimate
from services.gateway.websocket.live_protocol import LiveProtocol
from services.gateway.websocket.messages import Message
from services.gateway.websocket.protocol import Phase, WireProtocol
from services.gateway.websocket.realtime_protocol import RealtimeProtocol
from services.gateway.websocket.response_tap import ResponseTap
from services.gateway.websocket.responses_protocol import ResponsesProtocol

PROTOCOLS: dict[str, Callable[[str], WireProtocol]] = {
    "openai_responses": ResponsesProtocol,
    "openai_realtime": RealtimeProtocol,
    "gemini_live": LiveProtocol,
}
NAMES = (
    "type", "response", "session", "error", "usage", "id", "model", "status", "status_details", "event_id", "response_id",
    "setup", "clientContent", "client_content", "turnComplete", "realtimeInput", "toolResponse", "serverContent",
    "modelTurn", "toolCall", "usageMetadata", "groundingMetadata", "audio", "input", "transcription", "delta", "item",
)  # fmt: skip
WORDS = (
    "response.create", "response.created", "response.completed", "response.done", "response.output_text.delta", "error",
    "session.updated", "conversation.item.create", "conversation.item.input_audio_transcription.completed",
    "input_audio_buffer.append", "failed",
)  # fmt: skip
VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-5, 1 << 70), st.floats(), st.text(max_size=5), st.sampled_from(WORDS)
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(NAMES), inner, max_size=4)),
    max_leaves=12,
)
TEXTS = st.one_of(VALUES.map(lambda value: json.dumps(value).encode()), st.binary(max_size=40))


@pytest.mark.parametrize("name", PROTOCOLS)
@given(texts=st.lists(st.tuples(st.booleans(), TEXTS), max_size=8))
def test_no_message_is_too_odd_to_be_read(name: str, texts: list[tuple[bool, bytes]]) -> None:
    wire = PROTOCOLS[name]("m")
    tap = ResponseTap(copy=True)
    prompt = b""
    for from_client, text in texts:
        if from_client:
            prompt = wire.prompt(wire.start(text))
            continue
        event = wire.read(text)
        assert len(event.id) <= 256
        tap.read(Message(text), ends=event.phase is Phase.ENDS, failed=event.failed)
    picks, _, _ = tap.evidence()
    assert all(isinstance(msgspec.json.decode(pick), dict) for pick in picks)
    kept, times = tap.events()
    token_estimate.estimate(name, body=prompt, events=kept, times=times)
    assert DIALECTS[name].overhead is not None


ERROR = Refusal(429, "rate_limit_exceeded", "Slow down.", retry_after=7)


def test_an_escape_does_not_hide_a_request() -> None:
    start = ResponsesProtocol().start(b'{"type":"response.cr\\u0065ate","model":"gpt-4o"}')
    assert start is not None
    assert start.model == "gpt-4o"


def test_a_refusal_has_the_form_of_the_provider_s_own_errors() -> None:
    told: dict[str, Any] = json.loads(ResponsesProtocol().error(ERROR, request_id="r1", event_id=""))
    assert told["type"] == "error"
    assert told["status"] == 429
    assert told["error"] == {
        "message": "Slow down.",
        "type": "rate_limit_error",
        "param": None,
        "code": "rate_limit_exceeded",
    }
    assert told["headers"] == {"x-metrion-request-id": "r1", "retry-after": "7"}
    told = json.loads(RealtimeProtocol().error(ERROR, request_id="r1", event_id="mine"))
    assert (told["type"], told["event_id"], told["error"]["event_id"]) == ("error", "event_r1", "mine")
    assert LiveProtocol().error(ERROR, request_id="r1", event_id="") == b""


def test_messages_are_kept_within_bounds_and_audio_leaves_the_count_open() -> None:
    wire = RealtimeProtocol("m")
    wire.start(b'{"type":"conversation.item.create","item":{"content":[{"type":"input_text","text":"hello there"}]}}')
    counted = token_estimate.estimate("openai_realtime", body=wire.prompt(None), events=[])
    assert counted is not None and counted.input is not None and counted.input > 2
    for _ in range(3):
        wire.start(b'{"type":"input_audio_buffer.append","audio":"AAAA"}')
    assert wire.prompt(None).count(b"input_audio_buffer") == 1
    heard = token_estimate.estimate("openai_realtime", body=wire.prompt(None), events=[])
    assert heard is not None and heard.input is None
    wire.answered()
    assert b"hello" not in wire.prompt(None)
    wire.start(b'{"type":"conversation.item.create","item":{"content":"%s"}}' % (b"x" * 300_000))
    assert wire.prompt(None) == b""


def test_searches_of_a_live_turn_are_counted() -> None:
    tap = ResponseTap(copy=False)
    for queries in (["a", "b"], ["c"]):
        content = {"modelTurn": {"parts": []}, "groundingMetadata": {"webSearchQueries": queries}}
        tap.read(Message(json.dumps({"serverContent": content}).encode()), ends=False, failed=False)
    assert tap.evidence()[1] == {"google_search": 3}
