"""An answer in its other form must say the same: every word, every call, every token counted, however it was cut."""

import itertools
import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.cache import convert
from services.gateway.parsing import sse
from services.gateway.usage.tap import open_tap
from services.logger import usage
from shared import events as event_types
from shared.events import Envelope, Evidence, Origin, ResponseEvent
from shared.usage import Usage
from tests.support import sample_responses
from tests.support.sample_responses import CHAT, GENERATE, LEGACY, MESSAGES, RESPONSES, SampleResponse

WITH_USAGE = {name: one for name, one in sample_responses.STREAMS.items() if name != "openai/chat_stream_nousage.sse"}
Json = dict[str, Any]


def streamed(one: SampleResponse, *, usage: bool = True) -> bytes:
    return convert.to_stream(one.dialect, one.endpoint, one.body, usage=usage, provider=one.provider)


def whole(one: SampleResponse, stream: bytes | None = None) -> Json:
    body = one.body if stream is None else stream
    return dict(json.loads(convert.to_document(one.dialect, one.endpoint, body, provider=one.provider)))


def chunks(stream: bytes) -> list[Json]:
    return [json.loads(data) for data in sse.datas(stream) if data != sse.DONE]


def recorded(one: SampleResponse, body: bytes, kind: str) -> Usage:
    """The usage that the logger reads, its raw JSON aside, whose keys may stand in another order."""
    tap = open_tap(200, kind, "", one.dialect)
    tap.feed(body)
    picks, tools, truncated = tap.evidence()
    assert not tap.failed
    now, stream = datetime.now(UTC), kind == "text/event-stream"
    envelope = Envelope("id", "a", "t", "r", {}, one.provider, one.dialect, one.endpoint, "m", stream, now, "g")
    evidence = Evidence(picks, tools, truncated)
    event = ResponseEvent(Origin("s", 1, 1), envelope, 200, event_types.COMPLETE, "", "", "", 1, 1, 1, 1, "", False, True, evidence)  # fmt: skip
    found = usage.read(event)
    assert found.source == "reported"
    return msgspec.structs.replace(found, raw="")


@pytest.mark.parametrize("name", sample_responses.DOCUMENTS)
def test_a_document_costs_the_same_as_a_stream(name: str) -> None:
    one = sample_responses.DOCUMENTS[name]
    assert recorded(one, streamed(one), "text/event-stream") == recorded(one, one.body, "application/json")


@pytest.mark.parametrize("name", WITH_USAGE)
def test_a_stream_costs_the_same_as_a_document(name: str) -> None:
    one = WITH_USAGE[name]
    document = convert.to_document(one.dialect, one.endpoint, one.body, provider=one.provider)
    assert recorded(one, document, "application/json") == recorded(one, one.body, "text/event-stream")


@pytest.mark.parametrize("name", sample_responses.ARRAYS)
def test_an_array_costs_the_same_as_events_and_as_a_document(name: str) -> None:
    one = sample_responses.ARRAYS[name]
    expected = recorded(one, one.body, "application/json")
    events = convert.from_array(event_types.GEMINI, one.body)
    assert (
        recorded(one, events, "text/event-stream")
        == recorded(one, convert.to_array(event_types.GEMINI, events), "application/json")
        == expected
    )
    assert recorded(one, convert.to_document(one.dialect, one.endpoint, one.body), "application/json") == expected


@pytest.mark.parametrize("name", sample_responses.ARRAYS)
def test_an_array_says_the_same_as_events_and_as_a_document(name: str) -> None:
    one = sample_responses.ARRAYS[name]
    events = convert.from_array(event_types.GEMINI, one.body)
    assert json.loads(convert.to_array(event_types.GEMINI, events)) == json.loads(one.body)
    assert whole(one, events) == whole(one)
    assert whole(one)["candidates"][0]["content"]["parts"] == [
        {"text": '{"usageMetadata":{"promptTokenCount":9}} more.'}
    ]


@pytest.mark.parametrize("name", sample_responses.DOCUMENTS)
def test_a_document_comes_back_from_its_stream_whole(name: str) -> None:
    one = sample_responses.DOCUMENTS[name]
    assert convert.storable(one.dialect, one.endpoint, streamed(one), stream=True)
    assert whole(one, streamed(one)) == json.loads(one.body)


@pytest.mark.parametrize("name", WITH_USAGE)
def test_a_stream_gives_one_document_and_this_the_same_stream_again(name: str) -> None:
    one = WITH_USAGE[name]
    document = json.dumps(whole(one)).encode()
    assert convert.storable(one.dialect, one.endpoint, document, stream=False)
    assert whole(one, streamed(one._replace(body=document))) == whole(one)


def test_usage_comes_where_each_provider_puts_it() -> None:
    one = sample_responses.DOCUMENTS["openai tools"]
    asked, unasked = chunks(streamed(one)), chunks(streamed(one, usage=False))
    assert asked[-1]["usage"] == sample_responses.OPENAI_USAGE
    assert asked[-1]["choices"] == []
    assert all(chunk["usage"] is None for chunk in asked[:-1])
    assert [{name: value for name, value in chunk.items() if name != "usage"} for chunk in asked[:-1]] == unasked
    for name in ("mistral tools", "gemini compatible tools"):
        for wanted in (True, False):
            found = chunks(streamed(sample_responses.DOCUMENTS[name], usage=wanted))
            assert found[-1]["usage"] == sample_responses.OPENAI_USAGE
            assert found[-1]["choices"]
            assert all("usage" not in chunk for chunk in found[:-1])


def test_parallel_calls_with_the_same_index_stay_separate() -> None:
    found = whole(sample_responses.STREAMS["gemini compatible tools stream"])
    assert found["choices"][0]["message"]["tool_calls"] == sample_responses.CALLS


def test_audio_that_was_encoded_in_pieces_is_one_recording() -> None:
    pieces = [{"audio": {"id": "a", "transcript": "H"}}, {"audio": {"data": "AAA=", "transcript": "i"}}, {"audio": {"data": "AQ==", "expires_at": 7}}]  # fmt: skip
    message = _chat(*({"delta": delta} for delta in pieces))["message"]
    assert message["audio"] == {"id": "a", "data": "AAAB", "transcript": "Hi", "expires_at": 7}
    parts = [{"inlineData": {"mimeType": "audio/L16;rate=24000", "data": data}} for data in ("AAA=", "AQ==")]
    chunk = [{"candidates": [{"index": 0, "content": {"parts": [part]}, "finishReason": "STOP"}]} for part in parts]
    (merged,) = json.loads(convert.to_document(event_types.GEMINI, GENERATE, json.dumps(chunk).encode()))["candidates"]
    assert merged["content"]["parts"] == [{"inlineData": {"mimeType": "audio/L16;rate=24000", "data": "AAAB"}}]


def _chat(*choices: Json, **last: Any) -> Json:
    """What a stream of these choices, one a chunk, says in its first choice."""
    found: list[Json] = [
        {**sample_responses.CHUNK, "choices": [{"index": 0, "finish_reason": None, **one}]} for one in choices
    ]
    found[-1] |= {"usage": sample_responses.OPENAI_USAGE}
    found[-1]["choices"][0] |= {"finish_reason": "stop", **last}
    stream = b"".join(b"data: %s\n\n" % json.dumps(one).encode() for one in found) + b"data: [DONE]\n\n"
    return dict(json.loads(convert.to_document(event_types.OPENAI_CHAT, CHAT, stream))["choices"][0])


def test_calls_stand_in_the_order_of_their_index() -> None:
    calls = [{"delta": {"tool_calls": [{"index": at, **sample_responses.CALLS[at]}]}} for at in (1, 0)]
    assert _chat(*calls)["message"]["tool_calls"] == sample_responses.CALLS


def test_a_thought_that_is_closed_is_not_continued() -> None:
    thoughts = [{"type": "thinking", "thinking": [{"type": "text", "text": one}], "closed": True} for one in "ab"]
    assert _chat(*({"delta": {"content": [one]}} for one in thoughts))["message"]["content"] == thoughts


def test_the_last_verdict_of_a_content_filter_holds() -> None:
    verdicts: tuple[dict[str, Any], ...] = (
        {},
        {"hate": {"filtered": False}},
        {"hate": {"filtered": False}, "violence": {"filtered": False}},
    )
    found = _chat(*({"delta": {"content": "x"}, "content_filter_results": one} for one in verdicts))
    assert found["content_filter_results"] == verdicts[-1]


def test_token_probabilities_accompany_their_text() -> None:
    found = [
        chunk["choices"][0]
        for chunk in chunks(streamed(sample_responses.DOCUMENTS["openai two choices"]))
        if chunk["choices"]
    ]
    assert all(bool(one["delta"].get("content") or one["delta"].get("refusal")) is bool(one["logprobs"]) for one in found if one["index"] < 2)  # fmt: skip


def test_choices_may_be_listed_in_any_order() -> None:
    one = sample_responses.DOCUMENTS["openai two choices"]
    document = json.loads(one.body)
    turned = json.dumps(document | {"choices": document["choices"][::-1]}).encode()
    assert whole(one, streamed(one._replace(body=turned))) == document


def test_message_start_omits_values_known_only_at_the_end() -> None:
    start, *_, end, stop = chunks(streamed(sample_responses.DOCUMENTS["anthropic stop sequence"]))
    message = start["message"]
    assert (message["content"], message["stop_reason"], message["stop_sequence"], message["container"]) == ([], None, None, None)  # fmt: skip
    assert (message["usage"]["input_tokens"], message["usage"]["output_tokens"]) == (40, 1)
    assert message["usage"]["cache_creation"] == sample_responses.ANTHROPIC_USAGE["cache_creation"]
    assert not {"server_tool_use", "output_tokens_details"} & message["usage"].keys()
    assert (end["delta"]["stop_sequence"], end["delta"]["container"]["id"]) == ("END", "container_1")
    assert (end["usage"]["output_tokens"], stop) == (77, {"type": "message_stop"})


def test_the_deltas_of_a_response_add_up_to_it_from_nothing() -> None:
    """For clients that show things as they come: the SDK's final response is only the last event's."""
    one = sample_responses.DOCUMENTS["responses items"]
    found = chunks(streamed(one))
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    assert (found[0]["response"]["output"], found[0]["response"]["usage"]) == ([], None)
    items: list[Json] = []
    for event in found[2:-1]:
        kind, item = (
            event["type"].removeprefix("response."),
            items[event["output_index"]] if "item" not in event else {},
        )
        if kind == "output_item.added":
            items.append(event["item"])
        elif kind == "content_part.added":
            item["content"].append(event["part"])
        elif kind == "reasoning_summary_part.added":
            item["summary"].append(event["part"])
        elif kind == "output_text.annotation.added":
            item["content"][event["content_index"]]["annotations"].append(event["annotation"])
        elif kind.endswith(".delta"):
            key = {"function_call_arguments": "arguments", "mcp_call_arguments": "arguments", "custom_tool_call_input": "input", "code_interpreter_call_code": "code", "refusal": "refusal"}.get(kind.partition(".")[0], "text")  # fmt: skip
            holder = item["summary"][event["summary_index"]] if "summary_index" in event else item["content"][event["content_index"]] if "content_index" in event else item  # fmt: skip
            holder[key] += event["delta"]
            if "logprobs" in event:
                holder["logprobs"] += event["logprobs"]
    for item in items:
        if "status" in item:
            assert item["status"] == "in_progress"
            item["status"] = "completed"
    assert items == json.loads(one.body)["output"]


def test_geminis_citations_add_up_and_its_last_ratings_hold() -> None:
    found: list[Json] = [
        {"candidates": [{"content": {"parts": [{"text": one}]}, "citationMetadata": {"citationSources": [{"uri": one}]}, "safetyRatings": [{"probability": one}]}]}
        for one in "ab"
    ]  # fmt: skip
    found[-1]["candidates"][0]["finishReason"] = "STOP"
    (one,) = json.loads(convert.to_document(event_types.GEMINI, GENERATE, json.dumps(found).encode()))["candidates"]
    assert one["citationMetadata"] == {"citationSources": [{"uri": "a"}, {"uri": "b"}]}
    assert one["safetyRatings"] == [{"probability": "b"}]


def test_pieces_of_a_recording_that_has_a_head_count_as_a_miss() -> None:
    part = {"inlineData": {"mimeType": "audio/mp3", "data": "AAAA"}}
    found = [{"candidates": [{"content": {"parts": [part]}, "finishReason": "STOP"}]}] * 2
    with pytest.raises(convert.Unconvertible):
        convert.to_document(event_types.GEMINI, GENERATE, json.dumps(found).encode())


def test_padding_and_pings_are_not_content() -> None:
    one = sample_responses.STREAMS["openai/chat_stream_usage.sse"]
    assert b"obfuscation" in one.body
    assert "obfuscation" not in json.dumps(whole(one))
    one = sample_responses.STREAMS["anthropic/messages_stream.sse"]
    assert b"ping" in one.body
    assert whole(one)["content"][0] == {"type": "thinking", "thinking": "Short answer wanted.", "signature": "c2ln"}


def test_service_tier_of_the_last_chunk_wins() -> None:
    one = sample_responses.STREAMS["grok reasoning stream"]
    body = one.body.replace(b'"choices": []', b'"choices": [], "service_tier": "flex"')
    assert whole(one, body)["service_tier"] == "flex"


def _changed(name: str, old: str, new: str) -> tuple[SampleResponse, bytes]:
    one = sample_responses.STREAMS.get(name) or sample_responses.DOCUMENTS[name]
    assert old.encode() in one.body
    return one, one.body.replace(old.encode(), new.encode())


FOREIGN_STREAMS = [
    _changed("anthropic search stream", '"type": "text_delta"', '"type": "sound_delta"'),
    _changed("anthropic search stream", "ping", "pong"),
    _changed("anthropic search stream", "input_json_delta", "thinking_delta"),
    _changed("anthropic search stream", '"type": "content_block_stop", "index": 2', '"type": "ping"'),
    _changed("anthropic search stream", '"index": 3', '"index": 7'),
    _changed("anthropic search stream", '"{\\"query\\": \\"pro"', '"{\\"query\\": \\"pro\\""'),
    _changed("anthropic search stream", '{"type": "message_stop"}', '{"type": "ping"}'),
    _changed("openai tools stream", "[DONE]", "{}"),
    _changed("openai tools stream", '"tool_calls": [{"index": 1, "function"', '"tool_calls": [{"index": 1, "function": {"name": "x"}}, {"index": 1, "function"'),
    _changed("openai tools stream", '"finish_reason": "tool_calls"', '"finish_reason": null'),
    _changed("openai two choices stream", '"delta": {"content": ', '"delta": {"invented": '),
    _changed("openai/chat_stream_nousage.sse", "noon", "night"),
    _changed("openai/responses_stream.sse", "event: response.completed\ndata: {\"type\":\"response.completed\"", 'data: {"type":"response.incomplete"'),
    _changed("gemini thoughts stream", '"finishReason": "STOP"', '"finishReason": null'),
    _changed("gemini thoughts stream", '"groundingMetadata": {}', '"groundingMetadata": {"webSearchQueries": ["z"]}'),
    _changed("gemini thoughts stream", '"name": "now"', '"name": "now", "willContinue": true'),
]  # fmt: skip


@pytest.mark.parametrize(("one", "body"), FOREIGN_STREAMS, ids=range(len(FOREIGN_STREAMS)))
def test_a_stream_that_cannot_be_converted_exactly_is_a_cache_miss(one: SampleResponse, body: bytes) -> None:
    with pytest.raises(convert.Unconvertible):
        whole(one, body)


FOREIGN_DOCUMENTS = [
    _changed("anthropic blocks", '"redacted_thinking"', '"sculpture"'),
    _changed("anthropic blocks", '"usage": {\n  "input', '"usages": {\n  "input'),
    _changed("openai two choices", '"index": 1', '"index": 0'),
    _changed("openai two choices", '"chat.completion"', '"chat.sculpture"'),
    _changed("responses items", '"refusal"', '"sculpture"'),
    _changed("responses items", '"summary_text"', '"sculpture"'),
]


@pytest.mark.parametrize(("one", "body"), FOREIGN_DOCUMENTS, ids=range(len(FOREIGN_DOCUMENTS)))
def test_document_without_a_known_stream_form_counts_as_a_miss(one: SampleResponse, body: bytes) -> None:
    with pytest.raises(convert.Unconvertible):
        streamed(one._replace(body=body))


def test_items_of_an_unknown_type_come_whole() -> None:
    one, body = _changed("responses items", '"custom_tool_call"', '"sculpture_call"')
    added, done = (
        [event["item"] for event in chunks(streamed(one._replace(body=body))) if event["type"] == f"response.output_item.{kind}"]
        for kind in ("added", "done")
    )  # fmt: skip
    assert added[4] == done[4] == json.loads(body)["output"][4]


TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
WORD = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
COUNT = st.integers(0, 10**6)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(TEXT, VALUES, max_size=3)


def also(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    """Objects with any of these keys."""
    return st.fixed_dictionaries({}, optional=keys)


def one_of_these(*options: Json) -> st.SearchStrategy[Json]:
    return st.one_of(*(st.fixed_dictionaries(option) for option in options))


BLOCKS = one_of_these(
    {"type": st.just("text"), "text": TEXT},
    {"type": st.just("text"), "text": TEXT, "citations": st.none() | st.lists(OBJECTS, min_size=1, max_size=2)},
    {"type": st.just("thinking"), "thinking": TEXT, "signature": TEXT},
    {"type": st.just("redacted_thinking"), "data": TEXT},
    {
        "type": st.sampled_from(["tool_use", "server_tool_use", "mcp_tool_use"]),
        "id": TEXT,
        "name": TEXT,
        "input": OBJECTS,
    },
    {"type": st.sampled_from(["web_search_tool_result", "mcp_tool_result"]), "tool_use_id": TEXT, "content": VALUES},
)
ANTHROPIC_USAGE = st.builds(
    lambda counts, more: counts | more,
    st.fixed_dictionaries({"input_tokens": COUNT, "output_tokens": COUNT}),
    also(
        cache_creation_input_tokens=COUNT | st.none(),
        cache_read_input_tokens=COUNT,
        cache_creation=st.fixed_dictionaries({"ephemeral_5m_input_tokens": COUNT, "ephemeral_1h_input_tokens": COUNT}),
        output_tokens_details=st.fixed_dictionaries({"thinking_tokens": COUNT}),
        server_tool_use=st.fixed_dictionaries({"web_search_requests": COUNT}) | st.none(),
        service_tier=st.just("standard"),
        invented=VALUES,
    ),
)
MESSAGE = st.builds(
    lambda content, usage, more: sample_responses.MESSAGE | {"content": content, "stop_reason": "end_turn", "stop_sequence": None, "usage": usage} | more,
    st.lists(BLOCKS, max_size=4), ANTHROPIC_USAGE, also(stop_sequence=TEXT, container=OBJECTS, stop_details=st.none() | OBJECTS, invented=VALUES),
)  # fmt: skip
CALL = st.builds(
    lambda name, arguments: {"type": "function", "function": {"name": name, "arguments": arguments}},
    WORD, TEXT | OBJECTS.map(json.dumps),
)  # fmt: skip
CALL_LISTS = st.lists(CALL, min_size=1, max_size=3).map(lambda found: [{"id": f"call_{at}", **one} for at, one in enumerate(found)])  # fmt: skip
CHAT_MESSAGE = st.builds(
    lambda content, more: {"role": "assistant", "content": content, **more},
    st.none() | TEXT,
    also(
        refusal=st.none() | TEXT, reasoning_content=TEXT, reasoning=TEXT, annotations=st.lists(OBJECTS, max_size=2), tool_calls=CALL_LISTS | st.none(),
        function_call=st.fixed_dictionaries({"name": WORD, "arguments": TEXT}) | st.none(), invented=VALUES,
    ),
)  # fmt: skip
LOGPROBS = st.none() | st.fixed_dictionaries(
    {"content": st.none() | st.lists(OBJECTS, max_size=2), "refusal": st.none()}
)
OPENAI_USAGE = st.fixed_dictionaries(
    {"prompt_tokens": COUNT, "completion_tokens": COUNT, "total_tokens": COUNT, "invented": VALUES}
)
COMPLETION = st.builds(
    lambda choices, usage, more: {**sample_responses.CHAT_DOCUMENT, "choices": [{"index": at, **one} for at, one in enumerate(choices)], "usage": usage} | more,
    st.lists(st.builds(lambda message, more: {"message": message, "finish_reason": "stop", **more}, CHAT_MESSAGE, also(logprobs=LOGPROBS, invented=VALUES)), min_size=1, max_size=3),
    OPENAI_USAGE, also(service_tier=WORD | st.none(), system_fingerprint=WORD, invented=VALUES),
)  # fmt: skip
LEGACY_COMPLETION = st.builds(
    lambda texts, usage: {"object": "text_completion", **sample_responses.FRAME, "usage": usage, "choices": [{"text": one, "index": at, "logprobs": None, "finish_reason": "stop"} for at, one in enumerate(texts)]},
    st.lists(TEXT, min_size=1, max_size=3), OPENAI_USAGE,
)  # fmt: skip
CONTENT_PARTS = one_of_these(
    {"type": st.just("output_text"), "text": TEXT, "annotations": st.lists(OBJECTS, max_size=2), "logprobs": st.lists(OBJECTS, max_size=1)},
    {"type": st.just("refusal"), "refusal": TEXT},
)  # fmt: skip
ITEMS = one_of_these(
    {"id": TEXT, "type": st.just("message"), "status": st.just("completed"), "role": st.just("assistant"), "content": st.lists(CONTENT_PARTS, max_size=2)},
    {"id": TEXT, "type": st.just("reasoning"), "summary": st.lists(st.fixed_dictionaries({"type": st.just("summary_text"), "text": TEXT}), max_size=2)},
    {"type": st.just("function_call"), "call_id": TEXT, "name": TEXT, "arguments": TEXT},
    {"id": TEXT, "type": st.sampled_from(["web_search_call", "mcp_call", "code_interpreter_call", "invented_call"]), "invented": VALUES},
)  # fmt: skip
RESPONSE = st.builds(
    lambda items, usage: sample_responses.RESPONSE | {"output": items, "usage": usage},
    st.lists(ITEMS, max_size=3),
    OBJECTS,
)
PARTS = one_of_these(
    {"text": TEXT}, {"text": TEXT, "thought": st.booleans()}, {"text": TEXT, "thoughtSignature": TEXT},
    {"functionCall": st.fixed_dictionaries({"name": TEXT, "args": OBJECTS})}, {"inlineData": st.fixed_dictionaries({"mimeType": st.just("image/png"), "data": TEXT})}, {"invented": VALUES},
)  # fmt: skip
GEMINI = st.builds(
    lambda candidates, usage: {**sample_responses.GEMINI, "usageMetadata": usage, "candidates": [{"index": at, "content": {"role": "model", "parts": parts}, "finishReason": "STOP"} for at, parts in enumerate(candidates)]},
    st.lists(st.lists(PARTS, max_size=4), min_size=1, max_size=2), st.dictionaries(WORD, COUNT, max_size=3),
)  # fmt: skip
ANSWERS = [
    (event_types.ANTHROPIC, MESSAGES, MESSAGE),
    (event_types.OPENAI_CHAT, CHAT, COMPLETION),
    (event_types.OPENAI_CHAT, LEGACY, LEGACY_COMPLETION),
    (event_types.OPENAI_RESPONSES, RESPONSES, RESPONSE),
    (event_types.GEMINI, GENERATE, GEMINI),
]
IDS = [endpoint for _, endpoint, _ in ANSWERS]


@pytest.mark.parametrize(("dialect", "endpoint", "documents"), ANSWERS, ids=IDS)
@given(data=st.data())
def test_any_document_comes_back_from_its_stream_whole(dialect: str, endpoint: str, documents: Any, data: Any) -> None:
    document = data.draw(documents)
    stream = convert.to_stream(dialect, endpoint, json.dumps(document).encode(), usage=True, provider="openai")
    assert b"".join(convert.events(stream)) == stream
    assert json.loads(convert.to_document(dialect, endpoint, stream)) == document


def _halves(text: str, data: Any) -> list[str]:
    """A text in two or three pieces, some of them empty."""
    first, second = sorted((data.draw(st.integers(0, len(text))), data.draw(st.integers(0, len(text)))))
    return [text[:first], text[first:second], text[second:]]


def _cut(chunk: Json, data: Any) -> list[Json]:
    """A chunk in several, its text or arguments cut anywhere, as providers do."""
    copies = [json.loads(json.dumps(chunk)) for _ in range(3)]

    def cut(*path: Any) -> list[Json]:
        holders = list(copies)
        for step in path[:-1]:
            holders = [holder[step] for holder in holders]
        for holder, piece in zip(holders, _halves(holders[0][path[-1]], data), strict=True):
            holder[path[-1]] = piece
        return copies

    if "delta" in chunk:
        kind = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}
        return cut("delta", kind[chunk["delta"]["type"]]) if chunk["delta"].get("type") in kind else [chunk]
    delta = chunk["choices"][0]["delta"] if chunk.get("choices") else {}
    for name in ("content", "refusal", "reasoning_content"):
        if delta.get(name):
            for copy in copies[1:]:  # the token probabilities came with the first
                copy["choices"][0].pop("logprobs", None)
            return cut("choices", 0, "delta", name)
    if delta.get("tool_calls"):
        for copy in copies[1:]:
            call = copy["choices"][0]["delta"]["tool_calls"][0]
            del call["id"], call["type"], call["function"]["name"]
        return cut("choices", 0, "delta", "tool_calls", 0, "function", "arguments")
    return [chunk]


@pytest.mark.parametrize(("dialect", "endpoint", "documents"), ANSWERS[:2], ids=IDS[:2])
@given(data=st.data())
def test_however_a_response_is_cut_into_deltas_it_is_the_same_document(dialect: str, endpoint: str, documents: Any, data: Any) -> None:  # fmt: skip
    document = data.draw(documents)
    stream = convert.to_stream(dialect, endpoint, json.dumps(document).encode(), usage=True, provider="openai")
    pieces = [piece for chunk in chunks(stream) for piece in _cut(chunk, data)]
    end = data.draw(st.sampled_from([b"\n", b"\r\n"]))
    cut = b"".join(b"data: %s%s%s" % (json.dumps(piece).encode(), end, end) for piece in pieces)
    cut += b"data: [DONE]" + end + end if dialect == event_types.OPENAI_CHAT else b""
    assert convert.storable(dialect, endpoint, cut, stream=True)
    assert json.loads(convert.to_document(dialect, endpoint, cut)) == document


@given(st.lists(st.tuples(st.booleans(), WORD), min_size=1, max_size=6))
def test_geminis_texts_and_thoughts_join_where_chunks_meet(texts: list[tuple[bool, str]]) -> None:
    parts = [{"text": text} | ({"thought": True} if thought else {}) for thought, text in texts]
    found: list[Json] = [{"candidates": [{"content": {"parts": [part]}}], "usageMetadata": {"promptTokenCount": at}} for at, part in enumerate(parts)]  # fmt: skip
    found[-1]["candidates"][0]["finishReason"] = "STOP"
    document = json.loads(convert.to_document(event_types.GEMINI, GENERATE, json.dumps(found).encode()))
    merged = document["candidates"][0]["content"]["parts"]
    for thought in (True, False):
        expected = "".join(text for kind, text in texts if kind is thought)
        assert "".join(part["text"] for part in merged if part.get("thought", False) is thought) == expected
    assert len(merged) == 1 + sum(one[0] != other[0] for one, other in itertools.pairwise(texts))
    assert document["usageMetadata"] == {"promptTokenCount": len(texts) - 1}
