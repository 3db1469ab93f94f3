"""What broke off, failed or was cut short must never be served again, and no answer may break the deciding."""

import contextlib
import json
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.gateway.cache import convert as cache_convert
from shared import events
from tests.support import sample_responses
from tests.support.mock_provider import INDEX, RECORDINGS
from tests.support.sample_responses import CHAT, GENERATE, LEGACY, MESSAGES, RESPONSES
from tests.support.strategies import json_samples

STREAMS = sample_responses.STREAMS | sample_responses.ARRAYS
BOTH = [(name, False) for name in sample_responses.DOCUMENTS] + [(name, True) for name in STREAMS]


def _answer(name: str) -> sample_responses.SampleResponse:
    return sample_responses.DOCUMENTS.get(name) or STREAMS[name]


@pytest.mark.parametrize(("name", "stream"), BOTH)
def test_every_answer_that_ended_well_is_stored(name: str, stream: bool) -> None:
    one = _answer(name)
    assert cache_convert.storable(one.dialect, one.endpoint, one.body, stream=stream)
    assert not cache_convert.storable(one.dialect, one.endpoint, one.body, stream=not stream)


@pytest.mark.parametrize(("name", "stream"), BOTH)
def test_a_response_cut_anywhere_is_not_stored(name: str, stream: bool) -> None:
    one = _answer(name)
    whole = one.body.rstrip()
    for cut in range(0, len(whole), 1 + len(whole) // 400):
        assert not cache_convert.storable(one.dialect, one.endpoint, whole[:cut], stream=stream), whole[:cut][-80:]


@pytest.mark.parametrize("file", sample_responses.FAILED)
def test_an_error_or_a_response_that_is_still_being_made_is_not_stored(file: str) -> None:
    body, endpoint = (RECORDINGS / file).read_bytes(), INDEX[file]["endpoint"].partition(" stream")[0].partition("?")[0]
    for dialect in (events.ANTHROPIC, events.OPENAI_CHAT, events.OPENAI_RESPONSES, events.GEMINI):
        for stream in (True, False):
            assert not cache_convert.storable(dialect, endpoint, body, stream=stream)


ENDS = {
    (MESSAGES, b'"tool_use","stop_sequence"', b'"%s","stop_sequence"'): ("max_tokens", "model_context_window_exceeded", "pause_turn", "refusal", "new"),
    (CHAT, b'"finish_reason":"stop"', b'"finish_reason":"%s"'): ("length", "content_filter", "error", "model_length", "new"),
    (LEGACY, b'"finish_reason":"stop"', b'"finish_reason":"%s"'): ("length", "content_filter"),
    (RESPONSES, b'"status":"completed","error"', b'"status":"%s","error"'): ("incomplete", "failed", "queued", "in_progress", "cancelled"),
    (GENERATE, b'"finishReason":"STOP"', b'"finishReason":"%s"'): ("MAX_TOKENS", "SAFETY", "MALFORMED_FUNCTION_CALL", "NEW"),
}  # fmt: skip
SAMPLES = {MESSAGES: "anthropic blocks", CHAT: "openai two choices", LEGACY: "legacy completion", RESPONSES: "responses items", GENERATE: "gemini parts"}  # fmt: skip


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("where", "reasons"), ENDS.items(), ids=lambda value: value[0])
def test_response_with_any_unfinished_part_is_not_stored(where: Any, reasons: Any, stream: bool) -> None:
    endpoint, good, bad = where
    one = sample_responses.DOCUMENTS[SAMPLES[endpoint]]
    body = json.dumps(json.loads(one.body), separators=(",", ":")).encode()
    if stream:
        body = cache_convert.to_stream(one.dialect, endpoint, body, usage=True)
    assert cache_convert.storable(one.dialect, endpoint, body, stream=stream)
    at = body.rindex(good)
    for reason in [*reasons, None]:
        told = bad % reason.encode() if reason else (bad % b"").replace(b'""', b"null")
        changed = body[:at] + told + body[at + len(good) :]
        assert not cache_convert.storable(one.dialect, endpoint, changed, stream=stream), reason


def test_a_blocked_prompt_is_not_stored() -> None:
    body = b'{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":4}}'
    assert not cache_convert.storable(events.GEMINI, GENERATE, body, stream=False)
    assert not cache_convert.storable(events.GEMINI, GENERATE, b"data: " + body + b"\r\n\r\n", stream=True)


def test_an_error_between_good_events_is_not_stored() -> None:
    for name in (
        "openai tools stream",
        "anthropic search stream",
        "responses output left out",
        "gemini thoughts stream",
    ):
        one = sample_responses.STREAMS[name]
        pieces = cache_convert.events(one.body)
        for at in range(1, len(pieces)):
            errors = (
                b'data: {"error":{"message":"no"}}\n\n',
                b'event: error\ndata: {"type":"error","message":"no"}\n\n',
            )
            for error in errors:
                body = b"".join([*pieces[:at], error, *pieces[at:]])
                assert not cache_convert.storable(one.dialect, one.endpoint, body, stream=True)


@pytest.mark.parametrize("name", list(SAMPLES.values()))
def test_a_response_that_also_tells_of_an_error_is_not_stored(name: str) -> None:
    one = sample_responses.DOCUMENTS[name]
    body = json.dumps({**json.loads(one.body), "error": {"message": "half of it failed"}}).encode()
    assert not cache_convert.storable(one.dialect, one.endpoint, body, stream=False)
    with pytest.raises(cache_convert.Unconvertible):
        cache_convert.to_stream(one.dialect, one.endpoint, body, usage=True)


def test_a_completed_event_whose_response_tells_of_an_error_is_not_stored() -> None:
    one = sample_responses.STREAMS["responses output left out"]
    start, _, final = one.body.rpartition(b'"error": null')
    assert not cache_convert.storable(*one[1:3], start + b'"error": {"code": "server_error"}' + final, stream=True)


@pytest.mark.parametrize("name", ["openai tools stream", "gemini thoughts stream"])
def test_later_event_without_finish_reason_does_not_unset_it(name: str) -> None:
    one = sample_responses.STREAMS[name]
    pieces = cache_convert.events(one.body)
    at = next(at for at, piece in enumerate(pieces) if b'"STOP"' in piece or b'"finish_reason": "tool_calls"' in piece)
    late = pieces[at].replace(b'"STOP"', b"null").replace(b'"finish_reason": "tool_calls"', b'"finish_reason": null')
    assert cache_convert.storable(*one[1:3], b"".join([*pieces[: at + 1], late, *pieces[at + 1 :]]), stream=True)


EMBEDDINGS = [
    (events.OPENAI_OTHER, "POST /v1/embeddings", (RECORDINGS / "openai/embeddings.json").read_bytes()),
    (events.GEMINI, "POST /v1/models/{model}:embedContent", b'{"embedding":{"values":[0.1]}}'),
    (events.GEMINI, "POST /v1/models/{model}:batchEmbedContents", b'{"embeddings":[{"values":[0.1]}]}'),
]


@pytest.mark.parametrize(("dialect", "endpoint", "body"), EMBEDDINGS)
def test_embeddings_are_stored_and_have_no_other_form(dialect: str, endpoint: str, body: bytes) -> None:
    assert cache_convert.storable(dialect, endpoint, body, stream=False)
    assert not cache_convert.storable(dialect, endpoint, b"data: " + body + b"\n\n", stream=True)
    assert not cache_convert.storable(dialect, endpoint, b'{"data":[],"embeddings":[],"embedding":null}', stream=False)
    with pytest.raises(cache_convert.Unconvertible):
        cache_convert.to_stream(dialect, endpoint, body, usage=False)
    with pytest.raises(cache_convert.Unconvertible):
        cache_convert.to_document(dialect, endpoint, b"data: " + body + b"\n\n")


def test_responses_of_unsupported_endpoints_are_not_stored() -> None:
    for file, row in INDEX.items():
        if row["status"] == 200 and file.endswith(
            ("count_tokens.json", "batch.json", "images.json", "moderations.json")
        ):
            for dialect in (events.ANTHROPIC, events.OPENAI_OTHER, events.GEMINI):
                assert not cache_convert.storable(
                    dialect, row["endpoint"], (RECORDINGS / file).read_bytes(), stream=False
                )


KEYS = st.sampled_from(
    [
        "type",
        "object",
        "choices",
        "index",
        "delta",
        "message",
        "content",
        "finish_reason",
        "tool_calls",
        "function",
        "usage",
        "candidates",
        "parts",
        "text",
        "content_block",
        "response",
        "output",
        "item",
        "error",
        "status",
        "stop_reason",
        "id",
        "logprobs",
        "summary",
        "input",
    ]
)
WORDS = st.sampled_from(
    [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "message_delta",
        "message_stop",
        "text",
        "tool_use",
        "text_delta",
        "response",
        "input_json_delta",
        "chat.completion",
        "chat.completion.chunk",
        "message",
        "response.created",
        "response.completed",
        "end_turn",
        "stop",
        "STOP",
    ]
)
TREES = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 3) | WORDS | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=12,
)
DEEP = b"[" * 100_000, b'{"choices":' * 5_000, b'{"type":"message","content":' + b"[" * 1_200 + b"]" * 1_200 + b"}"
PLACES = [(events.ANTHROPIC, MESSAGES), (events.OPENAI_CHAT, CHAT), (events.OPENAI_CHAT, LEGACY), (events.OPENAI_RESPONSES, RESPONSES), (events.GEMINI, GENERATE), (events.OPENAI_OTHER, "POST /v1/embeddings")]  # fmt: skip


def never_breaks(body: bytes) -> None:
    """Every function takes it: it is stored or not, convertible or not."""
    for dialect, endpoint in PLACES:
        for stream in (True, False):
            assert cache_convert.storable(dialect, endpoint, body, stream=stream) in (True, False)
        for convert in (
            lambda: cache_convert.to_stream(dialect, endpoint, body, usage=True),  # noqa: B023 — called at once
            lambda: cache_convert.to_document(dialect, endpoint, body),  # noqa: B023
            lambda: cache_convert.from_array(events.GEMINI, body),
        ):
            with contextlib.suppress(cache_convert.Unconvertible):
                convert()


@given(st.binary(max_size=200))
def test_arbitrary_bytes_as_a_response_raise_nothing(body: bytes) -> None:
    never_breaks(body)


@given(st.lists(TREES, max_size=4), st.booleans())
def test_arbitrary_json_as_a_response_raises_nothing(trees: list[Any], done: bool) -> None:
    never_breaks(json.dumps(trees[0] if trees else []).encode())
    never_breaks(json.dumps(trees).encode())
    lines = [*(json.dumps(tree) for tree in trees), *(["[DONE]"] if done else [])]
    never_breaks("".join(f"data: {line}\n\n" for line in lines).encode())


@pytest.mark.parametrize("body", DEEP, ids=["array", "object", "inside"])
def test_nesting_beyond_reason_breaks_nothing(body: bytes) -> None:
    never_breaks(body)
    never_breaks(b"data: " + body + b"\n\n")


DIALECTS = {
    MESSAGES: events.ANTHROPIC,
    CHAT: events.OPENAI_CHAT,
    LEGACY: events.OPENAI_CHAT,
    RESPONSES: events.OPENAI_RESPONSES,
    GENERATE: events.GEMINI,
}
ODD_ANSWERS = json_samples(
    {"type": "message", "object": "response", "choices": [{}], "usage": {"input_tokens": 1}}, without=("compressed",)
)


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(
    ODD_ANSWERS | st.just(b"[" * 3000), st.sampled_from((MESSAGES, CHAT, LEGACY, RESPONSES, GENERATE)), st.booleans()
)
def test_no_odd_response_makes_the_cache_decision_or_conversion_fail(sample: Any, call: str, stream: bool) -> None:
    body = sample if isinstance(sample, bytes) else sample.body
    dialect = DIALECTS[call]
    for text in (body, b"data: " + body + b"\n\n", b"[" + body + b"," + body + b"]"):
        cache_convert.storable(dialect, call, text, stream=stream)
        for convert in (
            partial(cache_convert.to_document, dialect, call, text),
            partial(cache_convert.to_stream, dialect, call, text, usage=True),
            partial(cache_convert.from_array, events.GEMINI, text),
            partial(cache_convert.to_array, events.GEMINI, text),
        ):
            with contextlib.suppress(cache_convert.Unconvertible):
                convert()
