"""What the tap reads must not depend on how the bytes were cut or packed, and no content may come along."""

import gzip
import json
import zlib
from typing import Any

import brotli
import msgspec
import pytest
import zstandard

from services.gateway.dialects import DIALECTS
from services.gateway.usage import tap
from services.gateway.usage.json_tap import MAX_DOCUMENT
from services.gateway.usage.sse_tap import SseTap
from shared.events import ANTHROPIC, GEMINI, OPENAI_CHAT, OPENAI_OTHER, OPENAI_RESPONSES
from tests.support import paths

RECORDINGS = paths.RECORDINGS
INDEX: list[dict[str, Any]] = json.loads((RECORDINGS / "index.json").read_bytes())
PACKERS = {
    "": bytes,
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}


def dialect_of(row: dict[str, Any]) -> str:
    if row["provider"] in ("anthropic", "gemini") and "openai" not in row["endpoint"]:
        return str(row["provider"])
    if "responses" in row["endpoint"]:
        return OPENAI_RESPONSES
    return OPENAI_CHAT if "completions" in row["endpoint"] else OPENAI_OTHER


def read(data: bytes, *, size: int, kind: str, dialect: str, encoding: str = "", status: int = 200) -> tap.Tap:
    opened = tap.open_tap(status, kind, encoding, dialect)
    for i in range(0, len(data), size):
        opened.feed(data[i : i + size])
    return opened


@pytest.mark.parametrize("row", INDEX, ids=lambda row: row["file"])
def test_evidence_is_the_same_however_the_response_is_cut_and_packed(row: dict[str, Any]) -> None:
    data = (RECORDINGS / row["file"]).read_bytes()
    kind, dialect = row["headers"]["content-type"], dialect_of(row)
    whole = read(data, size=len(data), kind=kind, dialect=dialect, status=row["status"])
    expected = (whole.evidence(), whole.ended, whole.failed)
    for encoding, pack in PACKERS.items():
        for size in (1, 7, 1400):
            part = read(pack(data), size=size, kind=kind, dialect=dialect, encoding=encoding, status=row["status"])
            assert (part.evidence(), part.ended, part.failed) == expected
    if kind.startswith("text/event-stream"):
        assert whole.failed is not row["terminated"]
        assert whole.ended is (row["terminated"] and DIALECTS[dialect].has_end)
        assert isinstance(whole, SseTap)
        assert whole.cut_short is not row["terminated"]


def test_evidence_contains_no_response_content() -> None:
    for row in INDEX:
        data = (RECORDINGS / row["file"]).read_bytes()
        picks, _, _ = read(
            data, size=1000, kind=row["headers"]["content-type"], dialect=dialect_of(row), status=row["status"]
        ).evidence()
        for text in (
            b"lighthouse",
            b"Bonjour",
            b"Lyon",
            b"tide",
            b"Granite",
            b"harbour",
            b"Kelp",
            b"Moss",
            b"mistral souf",
        ):
            assert text not in b"".join(picks)


@pytest.mark.parametrize("item", [b'{"text":"abc"},', b'"\\\\",'])
def test_a_line_too_long_to_keep_still_yields_its_usage(item: bytes) -> None:
    line = b'data: {"type":"response.completed","response":{"model":"gpt-6.1-terra","output":[%s0],"usage":{"input_tokens":7,"d":{"c":1}}}}\n\n'
    data = line % (item * (2 << 18))
    opened = read(data, size=65536, kind="text/event-stream", dialect=OPENAI_RESPONSES)
    picks, _, truncated = opened.evidence()
    assert truncated
    assert opened.ended
    found = json.loads(picks[-1])
    assert found.get("response", found)["usage"] == {"input_tokens": 7, "d": {"c": 1}}
    assert found.get("response", found)["model"] == "gpt-6.1-terra"


def test_a_document_too_large_to_keep_is_read_as_completely_as_a_small_one() -> None:
    calls = b'{"type":"web_search_call","action":{"type":"search"}},' * 5
    picture = b'{"type":"image_generation_call","result":"%s"}' % (b"A" * (MAX_DOCUMENT + 5000))
    offered = b'[{"type":"function","name":"secret","parameters":{}},{"type":"image_generation","model":"gpt-image-2"}]'
    body = (
        b'{"model":"gpt-4.1","service_tier":"priority","output":[%s%s],"tool_usage":{"image_gen":{"input_tokens":210}},'
        b'"tools":%s,"usage":{"total_tokens":5}}' % (calls, picture, offered)
    )
    opened = read(body, size=65536, kind="application/json", dialect=OPENAI_RESPONSES)
    picks, counts, truncated = opened.evidence()
    assert not truncated
    assert json.loads(picks[0]) == {
        "model": "gpt-4.1",
        "service_tier": "priority",
        "tool_usage": {"image_gen": {"input_tokens": 210}},
        "tools": [{"type": "image_generation", "model": "gpt-image-2"}],
        "usage": {"total_tokens": 5},
    }
    assert counts == {"web_search_call.search": 5, "image_generation_call": 1}
    event = b'data: {"type":"response.completed","response":%s}\n\n' % body
    opened = read(event, size=65536, kind="text/event-stream", dialect=OPENAI_RESPONSES)
    streamed, counted, truncated = opened.evidence()
    assert opened.ended and not truncated
    assert (json.loads(streamed[-1])["response"], counted) == (json.loads(picks[0]), counts)


@pytest.mark.parametrize(
    "odd",
    [
        {"type": "image_generation_call", "action": "generate"},
        {"type": "shell_call", "action": ["ls"]},
        {"type": "code_interpreter_call", "container_id": 7},
        {"type": 5},
        {"type": None, "action": {"type": 1}},
        None,
        "text",
        7,
    ],
)
def test_an_odd_item_does_not_hide_the_searches_beside_it(odd: object) -> None:
    output = [{"type": "web_search_call", "action": {"type": "search"}}, odd, {"type": "web_search_call"}]
    tools = [{"type": "image_generation", "model": 5}, odd, {"type": "web_search_preview"}]
    body = msgspec.json.encode({"model": "gpt-4.1", "output": output, "tools": tools, "usage": {"input_tokens": 1}})
    picks, counts, _ = read(body, size=99, kind="application/json", dialect=OPENAI_RESPONSES).evidence()
    assert (counts["web_search_call.search"], counts["web_search_call"]) == (1, 1)
    offered = json.loads(picks[0])["tools"]
    assert (offered[0], offered[-1]) == ({"type": "image_generation"}, {"type": "web_search_preview"})


def test_an_odd_candidate_does_not_hide_the_searches_of_others() -> None:
    odd = [{"groundingMetadata": "none"}, {"finishReason": 5}, None]
    grounded = {"finishReason": "STOP", "groundingMetadata": {"webSearchQueries": ["q", "r"], "groundingChunks": None}}
    body = msgspec.json.encode({"candidates": [*odd, grounded], "usageMetadata": {"promptTokenCount": 1}})
    _, counts, _ = read(body, size=99, kind="application/json", dialect=GEMINI).evidence()
    assert counts == {"google_search": 2}


def test_containers_that_code_ran_in_are_counted_once_each() -> None:
    calls = [{"type": "code_interpreter_call", "container_id": name, "code": "x"} for name in ("a", "a", "b")]
    body = msgspec.json.encode({"model": "gpt-4.1", "output": calls, "usage": {"input_tokens": 1}})
    _, counts, _ = read(body, size=99, kind="application/json", dialect=OPENAI_RESPONSES).evidence()
    assert counts == {"code_interpreter_call": 3, "containers": 2}


def test_gemini_stream_as_one_array_keeps_the_last_usage() -> None:
    chunks = [
        {"modelVersion": "m", "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": n}} for n in range(4)
    ]
    body = msgspec.json.encode(chunks)
    picks, _, _ = read(body, size=10, kind="application/json; charset=UTF-8", dialect=GEMINI).evidence()
    assert json.loads(picks[-1])["usageMetadata"]["candidatesTokenCount"] == 3


GEMINI_CHUNK = (
    b'data: {"candidates":[{"content":{"parts":[{"text":"Moss"}]}%s}],"usageMetadata":{"promptTokenCount":3}}\n\n'
)


@pytest.mark.parametrize(
    ("last", "cut"),
    [
        (GEMINI_CHUNK % b"", True),
        (GEMINI_CHUNK % b',"finishReason":"STOP"', False),
        (GEMINI_CHUNK % b',"finishReason":"STOP"' + b'data: {"usageMetadata":{"promptTokenCount":4}}\n\n', False),
        (b'data: {"promptFeedback":{"blockReason":"SAFETY"}}\n\n', False),
        (GEMINI_CHUNK % b',"index":1' + GEMINI_CHUNK % b',"finishReason":"STOP"', True),
        (GEMINI_CHUNK % b',"index":1,"finishReason":"STOP"' + GEMINI_CHUNK % b',"finishReason":"STOP"', False),
    ],
    ids=["cut off", "finished", "usage after the end", "refused", "one of two finished", "both finished"],
)
def test_a_gemini_stream_cut_off_cleanly_is_not_complete(last: bytes, cut: bool) -> None:
    opened = read(GEMINI_CHUNK % b"" + last, size=40, kind="text/event-stream", dialect=GEMINI)
    picks, _, _ = opened.evidence()
    assert isinstance(opened, SseTap)
    assert opened.cut_short is cut
    assert b"Moss" not in b"".join(picks)


def test_a_stream_of_gemini_that_has_no_candidates_has_no_end_to_miss() -> None:
    data = b'data: {"event_type":"interaction.start"}\n\ndata: {"event_type":"content.delta"}\n\n'
    opened = read(data, size=40, kind="text/event-stream", dialect=GEMINI)
    assert isinstance(opened, SseTap)
    assert not opened.cut_short


def test_complete_elements_of_a_truncated_gemini_array_are_read() -> None:
    events = (RECORDINGS / "gemini/stream.sse").read_bytes().split(b"\r\n\r\n")
    body = b"[" + b",\r\n".join(event.removeprefix(b"data: ") for event in events if event) + b"]"
    ends = [at for at in range(len(body)) if body[at : at + 4] == b",\r\n{" or at == len(body) - 1]
    for at in range(2, len(body), 7):
        picks, _, _ = read(body[:at], size=50, kind="application/json", dialect=GEMINI).evidence()
        came = sum(end <= at for end in ends)
        assert [json.loads(pick)["usageMetadata"].get("candidatesTokenCount") for pick in picks[-1:]] == [None, 2, 6][
            came - 1 : came
        ]


def test_tool_calls_are_counted_and_queries_left_behind() -> None:
    body = {
        "output": [{"type": "web_search_call", "action": {"type": "search", "query": "secret"}}, {"type": "message"}]
    }
    picks, tools, _ = read(
        msgspec.json.encode(body), size=999, kind="application/json", dialect=OPENAI_RESPONSES
    ).evidence()
    assert tools == {"web_search_call.search": 1}
    grounded = {"candidates": [{"groundingMetadata": {"webSearchQueries": ["a", "b"]}}]}
    _, tools, _ = read(msgspec.json.encode(grounded), size=999, kind="application/json", dialect=GEMINI).evidence()
    assert tools == {"google_search": 2}
    assert b"secret" not in b"".join(picks)


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd", "snappy"])
def test_wrong_content_encoding_yields_no_evidence_and_no_error(encoding: str) -> None:
    for kind in ("application/json", "text/event-stream"):
        opened = read(b'{"usage":{}}\n' * 40, size=50, kind=kind, dialect=ANTHROPIC, encoding=encoding)
        assert opened.evidence()[0] == ()


def test_a_decoy_event_does_not_replace_the_usage() -> None:
    stream = (
        b'data: {"usageMetadata":{"promptTokenCount":1}}\n\n'
        b'data: {"candidates":[{"content":{"parts":[{"functionCall":{"args":{"usageMetadata":{"promptTokenCount":9}}}}]}}]}\n\n'
    )
    picks, _, _ = read(stream, size=30, kind="text/event-stream", dialect=GEMINI).evidence()
    assert [json.loads(pick) for pick in picks] == [{"usageMetadata": {"promptTokenCount": 1}}]
