"""Tokens are counted from the texts that a model read and wrote, of nothing else, and whatever the bytes are nothing raises."""

import json
import logging
import sys
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.dialects import DIALECTS
from services.gateway.dialects.message_text import NonText
from services.gateway.usage import sse_tap, tap, token_estimate, token_text
from services.gateway.usage.token_estimate import Vocabulary
from services.logger import apply_estimate, rows
from shared.events import ANTHROPIC, GEMINI, OPENAI_CHAT, OPENAI_RESPONSES, Estimate, Evidence
from shared.pricing.table import Table
from shared.usage import Usage
from tests.support import paths
from tests.support.response_events import event

RECORDINGS = paths.RECORDINGS
SAID = {
    "anthropic/messages_stream.sse": ["Short answer wanted.", "Bonjour, monde — ça va ? 🌍"],
    "anthropic/messages_stream_tools.sse": [
        "Let me look that up.",
        'get_weather{"city": "Lyon", "note": "usage"}',
    ],
    "openai/chat_stream_nousage.sse": ["The tide turns at noon. 🌊"],
    "openai/responses_stream.sse": ["Salt keeps the path clear."],
    "gemini/stream.sse": ["Moss likes shade."],
    "mistral/chat_stream.sse": ["Le vent tombe."],
    "xai/chat_stream_error.sse": ["It "],
}
DIALECT = {"anthropic": ANTHROPIC, "gemini": GEMINI}


def counted(text: str) -> int:
    found = token_estimate.VOCABULARY.count([text])
    assert found is not None and not found[1]
    return found[0]


def dialect_of(file: str) -> str:
    return OPENAI_RESPONSES if "responses" in file else DIALECT.get(file.split("/")[0], OPENAI_CHAT)


def events(data: bytes) -> Iterator[bytes]:
    return (line[5:].strip() for line in data.split(b"\n") if line.startswith(b"data:"))


@pytest.mark.parametrize("file", SAID)
def test_texts_of_a_stream_are_joined_by_kind(file: str) -> None:
    found, calls = token_text.response_texts(dialect_of(file), events((RECORDINGS / file).read_bytes()))
    assert calls == ("tools" in file)
    assert found == SAID[file]


def test_thoughts_and_calls_of_a_chat_are_counted_and_mistrals_lists_too() -> None:
    deltas: list[dict[str, Any]] = [
        {"reasoning_content": "hm"},
        {
            "content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": "so"}]},
                {"type": "text", "text": "A"},
            ]
        },
        {"content": "B"},
        {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": '{"x"'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]},
    ]
    stream = [json.dumps({"choices": [{"index": 0, "delta": delta}]}).encode() for delta in deltas]
    assert token_text.response_texts(OPENAI_CHAT, stream) == (["hm", "soAB", 'f{"x":1}'], 1)


def test_prompt_text_is_messages_and_tools_without_parameters() -> None:
    tool = {"name": "f", "description": "finds"}
    schema = json.dumps(tool, separators=(",", ":"))
    chat = {
        "model": "gpt-4o",
        "user": "ann",
        "metadata": {"a": "b"},
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
            {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]},
        ],
        "tools": [{"type": "function", "function": tool}],
    }
    expected = ["system", "Be brief.", "user", "Hi", "assistant", "f", "{}", schema]
    assert token_text.request_texts(OPENAI_CHAT, json.dumps(chat).encode()) == (expected, 3)
    messages = {
        "system": [{"type": "text", "text": "Be brief."}],
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": [{"type": "tool_use", "name": "f", "input": {"x": 1}}]},
            {"role": "user", "content": [{"type": "tool_result", "content": [{"type": "text", "text": "42"}]}]},
        ],
        "tools": [tool],
    }
    expected = ["Be brief.", "user", "Hi", "assistant", "f", '{"x":1}', "user", "42", schema]
    assert token_text.request_texts(ANTHROPIC, json.dumps(messages).encode()) == (expected, 3)
    native = {
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [{"role": "user", "parts": [{"text": "Hi"}]}],
        "generationConfig": {"temperature": 1},
    }
    assert token_text.request_texts(GEMINI, json.dumps(native).encode()) == (["Be brief.", "Hi"], 1)
    responses = {"instructions": "Be brief.", "input": [{"role": "user", "content": "Hi"}]}
    assert token_text.request_texts(OPENAI_RESPONSES, json.dumps(responses).encode()) == (
        ["Be brief.", "Hi", "user"],
        1,
    )
    assert token_text.request_texts(OPENAI_RESPONSES, b'{"input":"Hi"}') == (["Hi"], 1)


IMAGE = {"type": "image_url", "image_url": {"url": "data:"}}
NO_TEXT = [
    (OPENAI_CHAT, {"messages": [{"role": "user", "content": [IMAGE]}]}),
    (OPENAI_CHAT, {"messages": [{"content": [{"type": "input_audio"}]}]}),
    (OPENAI_CHAT, {"messages": [{"content": "a"}] * 6000}),
    (OPENAI_RESPONSES, {"input": "Hi", "previous_response_id": "resp_1"}),
    (OPENAI_RESPONSES, {"input": [{"type": "item_reference", "id": "x"}]}),
    (ANTHROPIC, {"messages": [{"content": [{"type": "image", "source": {}}]}]}),
    (ANTHROPIC, {"messages": [{"content": [{"type": "server_tool_use", "name": "web_search"}]}]}),
    (GEMINI, {"contents": [{"parts": [{"inlineData": {"data": "AAAA"}}]}]}),
    (GEMINI, {"contents": [{"parts": [{"executableCode": {"code": "1"}}]}]}),
    (OPENAI_RESPONSES, {"input": [{"type": "web_search_call", "id": "ws_1"}]}),
    (OPENAI_CHAT, {"messages": [], "x": [{}] * 80_000}),
    (GEMINI, {"contents": [], "cachedContent": "cachedContents/1"}),
]


@pytest.mark.parametrize(("dialect", "body"), NO_TEXT)
def test_a_prompt_that_is_not_all_text_is_unknown_and_not_half_counted(dialect: str, body: dict[str, Any]) -> None:
    with pytest.raises(NonText):
        token_text.request_texts(dialect, json.dumps(body).encode())


CODEX_TOOLS = [
    {"type": "function", "name": "exec_command", "parameters": {"type": "object"}},
    {"type": "web_search", "external_web_access": False},
    {"type": "namespace", "name": "mcp__docs", "tools": [{"type": "function", "name": "find", "parameters": {}}]},
    {"type": "custom", "name": "apply_patch", "format": {"type": "grammar"}},
]
CODEX_INPUT = [
    {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "List the files."}]},
    {"type": "reasoning", "summary": [], "content": None, "encrypted_content": "gAAA"},
    {"type": "custom_tool_call", "call_id": "c", "name": "apply_patch", "input": "*** Begin Patch"},
    {"type": "custom_tool_call_output", "call_id": "c", "output": "Done."},
    {"type": "local_shell_call", "action": {"type": "exec", "command": ["ls"]}},
    {"type": "local_shell_call_output", "output": "README.md"},
]


def codex_stream(item: dict[str, Any]) -> list[bytes]:
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": {"model": "gpt-6-codex"}},
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.function_call_arguments.delta", "output_index": 0, "delta": '{"cmd":"ls -la"}'},
    ]
    return [json.dumps(event).encode() for event in events]


@pytest.mark.parametrize(
    ("dialect", "declared"),
    [
        (OPENAI_RESPONSES, {"input": CODEX_INPUT, "tools": CODEX_TOOLS}),
        (OPENAI_CHAT, {"messages": [{"content": "Hi"}], "tools": [{"type": "web_search"}]}),
        (
            ANTHROPIC,
            {"messages": [{"content": "Hi"}], "tools": [{"type": "web_search_20250305", "name": "w"}]},
        ),
        (GEMINI, {"contents": [{"parts": [{"text": "Hi"}]}], "tools": [{"googleSearch": {}}]}),
    ],
)
def test_a_tool_of_the_provider_that_is_only_declared_is_counted(dialect: str, declared: dict[str, Any]) -> None:
    with_tools = token_estimate.estimate(dialect, body=json.dumps(declared).encode(), events=[])
    without = token_estimate.estimate(dialect, body=json.dumps(declared | {"tools": []}).encode(), events=[])
    assert with_tools is not None and with_tools.input is not None
    assert without is not None and without.input is not None
    assert with_tools.input > without.input


def test_a_codex_stream_is_estimated_unless_it_calls_a_tool_of_the_provider() -> None:
    body = json.dumps({"model": "gpt-6-codex", "stream": True, "input": CODEX_INPUT, "tools": CODEX_TOOLS}).encode()
    called = codex_stream({"type": "function_call", "name": "exec_command", "namespace": "mcp__docs"})
    found = token_estimate.estimate(OPENAI_RESPONSES, body=body, events=called)
    assert found is not None and found.input and found.input > 100 and found.output and found.output > 8
    for kind in ("web_search_call", "mcp_call", "mcp_list_tools"):
        found = token_estimate.estimate(OPENAI_RESPONSES, body=body, events=codex_stream({"type": kind}))
        assert found is not None and found.output is None


@pytest.mark.parametrize("odd", ['"\\ud83d"', "NaN", "[" * 1500 + "]" * 1500])
def test_text_that_only_lenient_readers_take_is_counted(odd: str) -> None:
    body = b'{"x":%s,"messages":[{"role":"user","content":"Tell me about the tide."}]}' % odd.encode()
    events = [b'{"choices":[{"index":0,"delta":{"content":"The tide"},"x":%s}]}' % odd.encode()]
    found = token_estimate.estimate(OPENAI_CHAT, body=body, events=events)
    plain = token_estimate.estimate(OPENAI_CHAT, body=body.replace(odd.encode(), b"0"), events=[])
    assert found is not None and plain is not None
    assert (found.input, found.output) == (plain.input, 2)


def test_very_many_chunks_that_only_lenient_readers_take_are_all_counted() -> None:
    chunk = b'{"choices":[{"index":0,"delta":{"content":" tide"},"logprobs":{"content":[{"logprob":-Infinity}]}}]}'
    plain = token_estimate.estimate(OPENAI_CHAT, body=b"", events=[chunk.replace(b"-Infinity", b"0")] * 300)
    assert plain is not None and plain.output == 300
    assert token_estimate.estimate(OPENAI_CHAT, body=b"", events=[chunk] * 300) == plain


def test_a_stream_of_which_nothing_can_be_read_is_unknown_and_not_empty() -> None:
    assert token_estimate.estimate(OPENAI_CHAT, body=b"", events=[b"Hello", b"world"]) is None
    assert token_estimate.estimate(OPENAI_CHAT, body=b"", events=[b"{" * 10_000] * 3000) is None
    found = token_estimate.estimate(OPENAI_CHAT, body=b"", events=[b"ping", b"[DONE]", b"ping", b'{"choices":[]}'])
    assert found is not None and found.output == 0


STREAM = 'data: {"choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":null}]}\n\ndata: [DONE]\n\n'


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
@pytest.mark.parametrize("size", [1, 1 << 20])
def test_output_of_a_stream_in_an_encoding_that_streams_cannot_have_is_unknown(encoding: str, size: int) -> None:
    opened = tap.open_tap(200, "text/event-stream", "", OPENAI_CHAT, copy=True)
    data = STREAM.encode(encoding)
    for start in range(0, len(data), size):
        opened.feed(data[start : start + size])
    opened.evidence()
    assert opened.events() is None


@pytest.mark.parametrize("start", ["", "\ufeff", "\r\n\r\n", ": ping\n\n", "id\n\n", "retry: 1\n\n"])
def test_output_of_a_stream_is_counted_however_it_begins(start: str) -> None:
    opened = tap.open_tap(200, "text/event-stream", "", OPENAI_CHAT, copy=True)
    opened.feed((start + STREAM).encode())
    opened.evidence()
    observed = opened.events()
    assert observed is not None
    assert token_text.response_texts(OPENAI_CHAT, observed[0]) == (["Hello"], 0)


SEARCHES = [
    (OPENAI_CHAT, {"choices": [{"delta": {"audio": {"data": "AAAA"}}}]}),
    (OPENAI_RESPONSES, {"type": "response.output_item.added", "item": {"type": "web_search_call"}}),
    (ANTHROPIC, {"type": "content_block_start", "content_block": {"type": "server_tool_use", "name": "x"}}),
    (GEMINI, {"candidates": [{"content": {"parts": [{"inlineData": {"data": "AAAA"}}]}}]}),
    (GEMINI, {"candidates": [{"groundingMetadata": {"webSearchQueries": ["x"]}}]}),
]


@pytest.mark.parametrize(("dialect", "said"), SEARCHES)
def test_a_response_with_more_than_text_is_unknown(dialect: str, said: dict[str, Any]) -> None:
    assert token_estimate.estimate(dialect, body=b"{", events=[json.dumps(said).encode()]) is None


def test_tokens_are_those_of_the_vocabulary_and_markers_in_a_text_are_text() -> None:
    body = b'{"messages":[{"role":"user","content":"hello world<|endoftext|>"}]}'
    found = token_estimate.estimate(OPENAI_CHAT, body=body, events=[])
    assert found == Estimate(input=1 + 9 + 3 + 3, output=0)


def test_marks_around_messages_and_calls_are_counted_as_each_provider_does() -> None:
    """The prompt is that of OpenAI's API reference, and so is its count."""
    body = {
        "messages": [
            {"role": "developer", "content": "You are a helpful assistant."},
            {"role": "user", "content": "Hello!"},
        ]
    }
    found = token_estimate.estimate(OPENAI_CHAT, body=json.dumps(body).encode(), events=[])
    assert found is not None and found.input == 19
    use = {"index": 0, "content_block": {"type": "tool_use", "name": "get_weather"}}
    args = {"index": 0, "delta": {"partial_json": '{"city": "Lyon"}'}}
    claude = token_estimate.estimate(ANTHROPIC, body=b"", events=[json.dumps(one).encode() for one in (use, args)])
    assert claude is not None and claude.output == round(9 * 1.13 + 40)


@pytest.mark.parametrize(
    "text", ["a" * 50_000, "\N{PILE OF POO}" * 60_000, " " * 80_000, "\x00" * 40_000, "<|im_start|>" * 9000]
)
def test_a_long_text_is_counted_on_samples_however_odd_it_is(text: str) -> None:
    whole = sum(counted(text[at : at + 30_000]) for at in range(0, len(text), 30_000))
    count, sampled = token_estimate.VOCABULARY.count([text]) or (0, False)
    assert sampled and count == pytest.approx(whole, rel=0.15)


def test_samples_of_prose_are_near_the_whole_count() -> None:
    prose = "\n".join(file.read_text() for file in sorted((RECORDINGS.parents[1] / "services").rglob("*.py")))
    count, sampled = token_estimate.VOCABULARY.count([prose]) or (0, False)
    assert sampled and count == pytest.approx(sum(map(counted, prose.splitlines(keepends=True))), rel=0.05)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "messages",
                    "content",
                    "role",
                    "tool_calls",
                    "function",
                    "tools",
                    "input",
                    "instructions",
                    "system",
                    "contents",
                    "parts",
                    "text",
                    "type",
                    "delta",
                    "choices",
                    "candidates",
                    "content_block",
                    "item",
                    "index",
                    "inlineData",
                    "name",
                    "arguments",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(st.sampled_from(sorted(filter(token_text.is_counted, DIALECTS))), JSON, JSON)
def test_nothing_that_a_client_or_provider_writes_raises(dialect: str, body: object, said: object) -> None:
    token_estimate.estimate(dialect, body=json.dumps(body).encode(), events=[json.dumps(said).encode()])


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b'{"messages":[{"content":"\\ud83d"}]}'])
@pytest.mark.parametrize("dialect", sorted(filter(token_text.is_counted, DIALECTS)))
def test_no_bytes_raise_either(dialect: str, body: bytes) -> None:
    token_estimate.estimate(dialect, body=body, events=[body, b"[DONE]"])
    deep = b'{"messages":[{"content":' + b'[{"type":"tool_result","content":' * 400 + b'"x"' + b"}]" * 400 + b"}]}"
    token_estimate.estimate(dialect, body=deep, events=[])


def test_long_stream_is_extrapolated_from_its_beginning() -> None:
    line = b'data: {"choices":[{"index":0,"delta":{"content":" tide"}}]}\n\n'
    opened = tap.open_tap(200, "text/event-stream", "", OPENAI_CHAT, copy=True)
    for _ in range(5000):
        opened.feed(line)
    events, times = opened.events() or ([], 0.0)
    assert sum(len(event) + 8 for event in events) <= sse_tap.MAX_COPY and times == pytest.approx(
        5000 / len(events), rel=0.01
    )
    found = token_estimate.estimate(OPENAI_CHAT, body=b"", events=events, times=times)
    assert found is not None and found.sampled and found.output == pytest.approx(5000, rel=0.01)


def test_burst_larger_than_the_buffer_is_extrapolated() -> None:
    line = b'data: {"choices":[{"index":0,"delta":{"content":" tide"}}]}\n\n'
    opened = tap.open_tap(200, "text/event-stream", "", OPENAI_CHAT, copy=True)
    opened.feed(line * 5000)
    events, times = opened.events() or ([], 0.0)
    found = token_estimate.estimate(OPENAI_CHAT, body=b"", events=events, times=times)
    assert found is not None and found.output == pytest.approx(5000, rel=0.01)


def test_nothing_is_kept_of_a_stream_when_counting_is_off() -> None:
    opened = tap.open_tap(200, "text/event-stream", "", OPENAI_CHAT)
    opened.feed(b"data: {}\n\n")
    assert opened.events() == ([], 1.0)


def test_without_the_tokenizer_nothing_is_counted_and_one_warning_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "path", [])
    bare = Vocabulary("o200k_base")
    with caplog.at_level(logging.WARNING):
        assert [bare.count(["text"]) for _ in range(3)] == [None] * 3
    assert len(caplog.records) == 1


PARTIAL = Usage(model="gpt-4o", source="partial")


@pytest.mark.parametrize(
    ("used", "counted", "expected"),
    [
        (PARTIAL, Estimate(10, 5), ("estimated", 10, 5, ("input", "output"))),
        (Usage(source="absent"), Estimate(10, 5), ("estimated", 10, 5, ("input", "output"))),
        (Usage(source="partial", input_tokens=900), Estimate(10, 5), ("estimated", 900, 5, ("output",))),
        (Usage(source="partial", input_tokens=900), Estimate(None, 5), ("estimated", 900, 5, ("output",))),
        (
            Usage(source="partial", input_tokens=31, output_tokens=90),
            Estimate(3, 5),
            ("estimated", 31, 90, ("output",)),
        ),
        (PARTIAL, Estimate(None, 5), ("partial", None, None, ())),
        (PARTIAL, Estimate(10, None), ("partial", None, None, ())),
        (PARTIAL, None, ("partial", None, None, ())),
        (Usage(source="reported", input_tokens=1, output_tokens=2), Estimate(10, 5), ("reported", 1, 2, ())),
        (Usage(source="partial", error_type="overloaded"), Estimate(10, 0), ("partial", None, None, ())),
        (
            Usage(source="partial", input_tokens=900, error_type="x"),
            Estimate(10, 0),
            ("estimated", 900, 0, ("output",)),
        ),
    ],
)
def test_estimate_fills_in_only_what_the_provider_did_not_state(
    used: Usage, counted: Estimate | None, expected: tuple[str, int | None, int | None, tuple[str, ...]]
) -> None:
    one = event(Evidence(estimate=counted), dialect=OPENAI_CHAT, provider="openai")
    found = apply_estimate.fill_in(used, one)
    assert (found.source, found.input_tokens, found.output_tokens, found.estimated) == expected


def test_an_error_right_behind_the_stated_input_does_not_hide_the_cost_of_the_input() -> None:
    """claude-opus-4-7: 1000 x 5 + 100,000 cached x 0.50 per million = 0.055; no word of an answer came."""
    usage = b'{"input_tokens":1000,"cache_read_input_tokens":100000,"output_tokens":1}'
    start = b'{"type":"message_start","message":{"model":"claude-opus-4-7","usage":%s}}' % usage
    error = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'
    for picks in ((start,), (start, error)):
        one = event(Evidence(picks, estimate=Estimate(50, 0)), dialect=ANTHROPIC, provider="anthropic")
        row = rows.response_row(one)
        assert (row.cost, row.usage_source) == (Decimal("0.055"), "estimated")


def test_an_estimated_cost_is_labelled_everywhere_and_switched_off_unknown() -> None:
    evidence = Evidence((b'{"model":"gpt-4o"}',), estimate=Estimate(1000, 100))
    one = event(evidence, dialect=OPENAI_CHAT, provider="openai")
    row = rows.response_row(one)
    assert (row.usage_source, row.cost_source, row.cost_reason) == ("estimated", "estimated", "estimated:input,output")
    assert (str(row.cost), json.loads(row.usage)["estimated"]) == ("0.003500000000", ["input", "output"])
    off = rows.response_row(one, Table.default(), estimate=False)
    assert (off.usage_source, off.cost, off.cost_reason) == ("absent", None, "usage_absent")
    unknown = rows.response_row(
        event(Evidence((b'{"model":"x"}',), estimate=Estimate(1, 1)), dialect=OPENAI_CHAT, provider="openai")
    )
    assert (unknown.cost, unknown.cost_source, unknown.cost_reason) == (None, "none", "unknown_model")
