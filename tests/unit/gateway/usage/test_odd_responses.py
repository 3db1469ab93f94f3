"""Answers that servers send although the standard forbids them, or that are large beyond reason, are recorded right."""

import gzip
import json
import zlib
from decimal import Decimal
from typing import Any

import brotli
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.gateway.parsing import json_array, lenient_json
from services.gateway.usage import evidence, json_tap, sse_tap
from services.gateway.usage.evidence import MAX_EVIDENCE
from services.gateway.usage.tap import Tap, open_tap
from shared import events
from tests.support.priced_rows import MILLION, priced_row
from tests.support.strategies import JsonSample, json_samples

HALF = b'"\\ud83d"'
ODD = {
    "half a pair": HALF,
    "low half": b'"\\udc00 x"',
    "NaN": b"NaN",
    "infinities": b"[Infinity, -Infinity]",
    "control": b'"a\x01\tb"',
    "no UTF-8": b'"\xff\xe4"',
    "deep list": b"[" * 980 + b"]" * 980,
    "deep object": b'{"a":' * 980 + b"1" + b"}" * 980,
    "deeper": b"[" * 20_000 + b"]" * 20_000,
    "deep with text": b'[{"a":"]}","b":' * 900 + b"1" + b"}]" * 900,
    "long number": b"9" * 5000,
}
ENCODINGS = ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
CLAUDE: dict[str, Any] = {
    "provider": "anthropic",
    "dialect": events.ANTHROPIC,
    "endpoint": "POST /v1/messages",
}
# 1,000 in, 100,000 read from the cache, 100 out: 1000*5 + 100000*0.5 + 100*25, a million
MESSAGE = (
    b'{"id":"m","type":"message","role":"assistant","model":"claude-opus-4-7","content":[{"type":"tool_use","id":"t",'
    b'"name":"n","input":{"x":%s}}],"stop_reason":"tool_use","usage":{"input_tokens":1000,'
    b'"cache_read_input_tokens":100000,"output_tokens":100}}'
)
MESSAGE_COST = Decimal(1000 * 5 + 50_000 + 100 * 25) / MILLION
# 8 in and 5 out of gpt-4o-mini: 8*0.15 + 5*0.6, a million… and of gpt-4.1-nano below
RESPONSE = (
    b'{"type":"response.completed","response":{"id":"r","object":"response","status":"completed","model":"gpt-4.1",'
    b'"output":[{"type":"message","content":[{"type":"output_text","text":%s}]}],'
    b'"usage":{"input_tokens":12,"output_tokens":4,"total_tokens":16}}}'
)
RESPONSE_COST = Decimal(12 * 2 + 4 * 8) / MILLION
GEMINI: dict[str, Any] = {
    "provider": "gemini",
    "dialect": events.GEMINI,
    "endpoint": "POST /v1beta/models/{model}:streamGenerateContent",
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_a_message_with_an_odd_value_is_recorded_to_the_cent(odd: bytes) -> None:
    found = priced_row(MESSAGE % odd, **CLAUDE)
    assert found.cost == MESSAGE_COST == Decimal("0.0575")
    assert (found.input_tokens, found.output_tokens, found.cost_reason) == (101_000, 100, "")


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("size", [10, 3_000_000])
def test_a_message_in_another_encoding_is_recorded_to_the_cent(encoding: str, size: int) -> None:
    text = (MESSAGE % (b'"%s"' % (b"x" * size))).decode()
    assert priced_row(text.encode(encoding), **CLAUDE).cost == MESSAGE_COST


@pytest.mark.parametrize("odd", [HALF, b"NaN", b'"\\udc00\\ud83d"'])
@pytest.mark.parametrize("size", [900_000, 4_000_000, 9_000_000])
def test_an_odd_value_in_a_large_response_hides_no_usage(odd: bytes, size: int) -> None:
    body = MESSAGE % (b'%s},"picture":{"data":"%s"' % (odd, b"A" * size))
    assert priced_row(body, **CLAUDE).cost == MESSAGE_COST


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_a_stream_whose_last_event_has_an_odd_value_is_complete_and_exact(odd: bytes) -> None:
    if odd.startswith((b"[", b"{")) and len(odd) > 4000:
        odd = b"[" * 980 + b"]" * 980
    event = b"event: response.completed\ndata: " + RESPONSE % odd + b"\n\n"
    tap = open_tap(200, "text/event-stream", "", events.OPENAI_RESPONSES)
    tap.feed(event)
    tap.evidence()
    assert tap.ended and not tap.failed
    found = priced_row(event, provider="openai", kind="text/event-stream")
    assert found.cost == RESPONSE_COST == Decimal("0.000056")


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_a_gemini_array_with_an_odd_value_is_recorded(odd: bytes) -> None:
    first = (
        b'{"candidates":[{"content":{"parts":[{"functionCall":{"args":{"x":%s}}}]}}],"modelVersion":"gemini-2.5-flash"}'
    )
    last = (
        b'{"candidates":[{"finishReason":"STOP","content":{"parts":[{"text":%s}]}}],"modelVersion":"gemini-2.5-flash",'
        b'"usageMetadata":{"promptTokenCount":1000,"candidatesTokenCount":100,"totalTokenCount":1100}}'
    )
    text = odd if odd.startswith(b'"') else b'"x"'
    body = b"[" + first % odd + b"\n,\r\n" + last % text + b"]"
    expected = Decimal(1000 * 30 + 100 * 250) / 100 / MILLION
    assert priced_row(body, **GEMINI).cost == expected
    found = read(body.removesuffix(b"]"), kind="application/json", dialect=events.GEMINI)  # it broke off
    assert json.loads(found[0][-1])["usageMetadata"]["promptTokenCount"] == 1000


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_a_line_of_a_batch_with_an_odd_value_is_added_up(odd: bytes) -> None:
    line = (
        b'{"custom_id":"a","response":{"body":{"model":"gpt-4.1","choices":[{"message":{"content":%s}}],'
        b'"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}}}}\n'
    )
    picks, _, truncated = read(line % b'"x"' + line % odd + line % b'"y"', kind="application/jsonl")
    (found,) = map(json.loads, picks)
    assert (found["usage"]["prompt_tokens"], found["usage"]["completion_tokens"]) == (30, 15)
    assert not truncated


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_batch_in_another_encoding_is_added_up(encoding: str) -> None:
    line = '{"custom_id":"é","response":{"body":{"model":"gpt-4.1","usage":{"prompt_tokens":10}}}}\n'
    picks, _, _ = read((line * 3).encode(encoding), kind="application/jsonl", size=7)
    assert json.loads(picks[0])["usage"] == {"prompt_tokens": 30}


def test_unreadable_batch_line_marks_the_evidence_as_truncated() -> None:
    line = b'{"custom_id":"a","response":{"body":{"model":"m","usage":{"prompt_tokens":10}}}}\n'
    opened = tap_of(line + line[:-20] + b"\n" + line, kind="application/jsonl")
    picks, _, truncated = opened.evidence()
    assert json.loads(picks[0])["usage"] == {"prompt_tokens": 20}
    assert truncated
    assert opened.gap is not None and opened.gap.missing == (events.GAP_LINES,)


def test_a_long_file_with_a_name_a_line_keeps_the_known_counts() -> None:
    lines = (
        b'{"custom_id":"%d","response":{"body":{"model":"m","usage":{"odd_%d":1,"prompt_tokens":1}}}}' % (at, at)
        for at in range(40_000)
    )
    opened = tap_of(b"\n".join(lines), kind="application/jsonl")
    picks, _, truncated = opened.evidence()
    (found,) = map(json.loads, picks)
    assert found["usage"]["prompt_tokens"] == 40_000
    assert len(found["usage"]) <= 65 and truncated
    assert opened.gap is not None and opened.gap.missing == (events.GAP_NAMES,)


def test_a_file_of_very_many_lines_in_very_few_bytes_is_left_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    line = b'{"custom_id":"x","response":{"usage":{"a":1}}}\n'
    opened = open_tap(200, "application/jsonl", "gzip", events.OPENAI_OTHER)
    read_lines = Counted(lenient_json.read)
    monkeypatch.setattr(lenient_json, "read", read_lines)
    opened.feed(gzip.compress(line * 600_000))
    assert opened.evidence()[2]
    assert read_lines.calls < 20_000


@pytest.mark.parametrize("end", [b"]", b""], ids=["whole", "cut"])
@pytest.mark.parametrize("element", [b"{}", b'{"error":1}', b'{"usageMetadata":1}', b'{"a":"x"}', b"[]"])
def test_an_array_of_very_many_elements_is_read_within_bounds(
    element: bytes, end: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    picks = Counted(evidence.pick)
    monkeypatch.setattr(json_tap, "pick", picks)
    body = b"[" + (element + b",") * ((7 << 20) // (len(element) + 1)) + element + end
    opened = tap_of(body, kind="application/json", dialect=events.GEMINI)
    opened.evidence()
    assert picks.calls < 1000


def test_a_usage_of_very_many_names_leaves_a_small_event() -> None:
    names = b",".join(b'"%d_%s":1' % (at, b"x" * 590) for at in range(10_000))
    body = (
        b'{"id":"b","object":"batch","model":"gpt-4.1","usage":{%s,"input_tokens":7,"output_tokens":5},"error":null}'
        % names
    )
    opened = tap_of(body, kind="application/json")
    picks, _, truncated = opened.evidence()
    assert json.loads(picks[0])["usage"] == {"input_tokens": 7, "output_tokens": 5}
    assert truncated and sum(map(len, picks)) <= MAX_EVIDENCE
    assert opened.gap is not None and opened.gap.missing == (events.GAP_NAMES,)


LONG = b"x" * 3_000_000
HUGE = {
    "model": b'{"model":"%s","usage":{"prompt_tokens":7}}' % LONG,
    "type": b'{"type":"%s","usage":{"prompt_tokens":7}}' % LONG,
    "tier": b'{"service_tier":{"a":"%s"},"usage":{"prompt_tokens":7}}' % LONG,
    "error": b'{"error":{"type":"t","message":"%s","x":["%s"]},"usage":{"prompt_tokens":7}}' % (LONG, LONG),
    "error list": b'{"error":[%s0],"usage":{"prompt_tokens":7}}' % (b'"abc",' * 100_000),
    "inside": b'{"message":{"id":"%s","model":{"%s":1},"usage":{"prompt_tokens":7}}}' % (LONG, LONG),
}


@pytest.mark.parametrize("body", HUGE.values(), ids=HUGE)
@pytest.mark.parametrize("kind", ["application/json", "text/event-stream"])
def test_no_value_of_a_response_makes_the_event_large(body: bytes, kind: str) -> None:
    data = body if kind == "application/json" else b"data: " + body + b"\n\n"
    picks, _, _ = read(data, kind=kind, dialect=events.ANTHROPIC)
    assert sum(map(len, picks)) <= MAX_EVIDENCE
    assert any(b'"prompt_tokens":7' in one for one in picks)
    for one in picks:
        json.loads(one)


def test_array_elements_are_separated_whatever_they_contain() -> None:
    whole = [b'{"a":[{"b":"]}"}]}', b"[1,[2]]", b'{"c":"\\"}"}', b"[[" + b"[" * 2000 + b"]" * 2000 + b"]]"]
    document = b" [" + b" ,\n".join(whole) + b',{"d":[1'
    assert json_array.elements(document) == whole


@pytest.mark.parametrize("encoding", ["", "gzip"])
def test_very_many_events_in_few_bytes_are_read_within_bounds(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    picks = Counted(evidence.pick)
    monkeypatch.setattr(sse_tap, "pick", picks)
    event = b'data: {"model":"gpt-4.1","usage":{"prompt_tokens":%d,"completion_tokens":5}}\n\n'
    stream = event % 1 + event % 2 * 40_000 + event % 7 + b"data: [DONE]\n\n"
    opened = open_tap(200, "text/event-stream", encoding, events.OPENAI_CHAT)
    opened.feed(gzip.compress(stream) if encoding else stream)
    found, _, _ = opened.evidence()
    assert json.loads(found[-1])["usage"]["prompt_tokens"] == 7
    assert opened.ended
    assert picks.calls < 1000


def test_searches_amid_very_many_events_are_counted() -> None:
    event = b'data: {"candidates":[{"content":{}%s}],"usageMetadata":{"promptTokenCount":9}}\n\n'
    search = event % b',"groundingMetadata":{"webSearchQueries":["a","b"]}'
    stream = event % b"" * 700 + search + event % b"" * 700
    _, tools, truncated = read(stream, kind="text/event-stream", dialect=events.GEMINI, size=1 << 20)
    assert tools == {"google_search": 2}
    assert not truncated


class Counted:
    """A function that counts its calls."""

    def __init__(self, function: Any) -> None:
        self._function = function
        self.calls = 0

    def __call__(self, *args: Any, **more: Any) -> Any:
        self.calls += 1
        return self._function(*args, **more)


def tap_of(data: bytes, *, kind: str, dialect: str = events.OPENAI_OTHER, size: int = 65536) -> Tap:
    opened = open_tap(200, kind, "", dialect)
    for start in range(0, len(data), size):
        opened.feed(data[start : start + size])
    return opened


def read(data: bytes, *, kind: str, dialect: str = events.OPENAI_OTHER, size: int = 65536) -> Any:
    return tap_of(data, kind=kind, dialect=dialect, size=size).evidence()


USAGE = {"usage": {"prompt_tokens": 20, "completion_tokens": 10}}


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    json_samples({"model": "gpt-4.1", **USAGE}, without=("content_type", "duplicate_keys")),
    st.sampled_from((97, 5000, 1 << 20)),
)
def test_whatever_json_a_server_writes_its_usage_is_read(sample: JsonSample, size: int) -> None:
    opened = open_tap(200, "application/json", sample.content_encoding, events.OPENAI_CHAT)
    for start in range(0, len(sample.body), size):
        opened.feed(sample.body[start : start + size])
    picks, _, truncated = opened.evidence()
    assert not truncated
    found = json.loads(picks[0])
    assert (found["model"], found["usage"]) == ("gpt-4.1", USAGE["usage"])


@pytest.mark.parametrize("kind", ["application/json", "text/event-stream", "application/x-jsonl"])
@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd", "deflate"])
def test_a_response_that_becomes_too_large_is_not_called_corrupt(encoding: str, kind: str) -> None:
    text = b'{"data":"%s"}\n' % (b"a" * (8 << 20))
    packed = {
        "gzip": gzip.compress,
        "br": brotli.compress,
        "zstd": zstandard.ZstdCompressor().compress,
        "deflate": zlib.compress,
    }[encoding](text)
    opened = open_tap(200, kind, encoding, events.OPENAI_CHAT)
    opened.feed(packed)
    _, _, truncated = opened.evidence()
    assert truncated
    assert opened.gap is not None and opened.gap.reason == events.UNREAD_TOO_LARGE


@pytest.mark.parametrize("kind", ["application/json", "text/event-stream", "application/x-jsonl"])
def test_a_response_that_is_not_compressed_as_it_says_is_corrupt(kind: str) -> None:
    opened = open_tap(200, kind, "gzip", events.OPENAI_CHAT)
    opened.feed(b"\x1f\x8b" + b"x" * 1000)
    _, _, truncated = opened.evidence()
    assert truncated
    assert opened.gap is not None and opened.gap.reason == events.UNREAD_CORRUPT
