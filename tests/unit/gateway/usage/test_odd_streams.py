"""Streams of compatible servers that are none, or name an error only beside their data, must not be recorded wrongly."""

import json

import pytest

from services.gateway.usage.sse_tap import SseTap
from services.gateway.usage.tap import open_tap
from services.gateway.usage.usage_remover import Remover
from shared import events

BODY = b'{"id":"c","model":"gpt-4.1","choices":[{"message":{"content":"a"}}],"usage":{"prompt_tokens":9,"completion_tokens":5}}'


def read(data: bytes, *, size: int, dialect: str = events.OPENAI_CHAT) -> SseTap:
    opened = open_tap(200, "text/event-stream", "", dialect, copy=True, framed=True)
    for start in range(0, len(data), size):
        opened.feed(data[start : start + size])
    assert isinstance(opened, SseTap)
    return opened


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
@pytest.mark.parametrize("body", [BODY, b"\n " + BODY + b"\n\n", b"\xef\xbb\xbf" + BODY])
def test_json_called_an_event_stream_is_recorded_as_json(body: bytes, size: int) -> None:
    opened = read(body, size=size if not body.startswith(b"\xef") else 1 << 20)
    picks, _, truncated = opened.evidence()
    assert json.loads(picks[0])["usage"] == {"prompt_tokens": 9, "completion_tokens": 5}
    assert not truncated and not opened.cut_short and not opened.failed


@pytest.mark.parametrize("dialect", [events.OPENAI_CHAT, events.ANTHROPIC, events.GEMINI])
@pytest.mark.parametrize("name", [b"event: error\n", b"event:error\n"])
@pytest.mark.parametrize("data", [b'{"message":"overloaded"}', b'{"type":"t","message":"overloaded"}', b"overloaded"])
def test_an_error_event_is_seen_by_its_name_alone(data: bytes, name: bytes, dialect: str) -> None:
    opened = read(b'data: {"model":"m"}\n\n' + name + b"data: " + data + b"\n\n", size=1 << 20, dialect=dialect)
    picks, _, _ = opened.evidence()
    assert opened.failed
    assert "overloaded" in picks[-1].decode()


def test_an_event_that_only_mentions_an_error_is_not_an_error() -> None:
    opened = read(b'data: {"model":"m"}\n\nevent: delta\ndata: {"text":"event: error"}\n\n', size=1 << 20)
    opened.evidence()
    assert not opened.failed


NO_ERRORS = [b"null", b"false", b"0", b'""', b"{}", b"[]"]


@pytest.mark.parametrize("nothing", NO_ERRORS)
@pytest.mark.parametrize("dialect", [events.OPENAI_CHAT, events.ANTHROPIC, events.GEMINI])
def test_a_chunk_whose_error_is_empty_is_no_error(nothing: bytes, dialect: str) -> None:
    opened = read(b'data: {"model":"m","error":%s}\n\n' % nothing * 2, size=1 << 20, dialect=dialect)
    opened.evidence()
    assert not opened.failed


@pytest.mark.parametrize("nothing", NO_ERRORS)
@pytest.mark.parametrize("size", [1, 1 << 20])
def test_the_usage_chunk_of_a_server_that_writes_an_empty_error_is_removed(nothing: bytes, size: int) -> None:
    words = CHUNK[:-1] % b"null" + b',"error":%s}\n\n' % nothing
    stream = words + USAGE[:-1] + b',"error":%s}\n\ndata: [DONE]\n\n' % nothing
    remover = Remover()
    passed = b"".join(remover.feed(stream[at : at + size]) for at in range(0, len(stream), size)) + remover.end()
    assert passed == words + b"data: [DONE]\n\n"


CHUNK = b'data: {"id":"c","model":"gpt-4.1","choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":%s}]}'
USAGE = b'data: {"id":"c","model":"gpt-4.1","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":5}}'


@pytest.mark.parametrize("last", [b"data: [DONE]\n", b"data: [DONE]"], ids=["line feed", "no line feed"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("size", [1, 7, 100, 1 << 20])
def test_usage_is_read_in_a_stream_without_blank_lines(size: int, end: bytes, last: bytes) -> None:
    lines = [CHUNK % b"null"] * 5 + [CHUNK % b'"stop"', USAGE]
    opened = read(end.join(lines) + end + last, size=size)
    picks, _, truncated = opened.evidence()
    assert json.loads(picks[-1])["usage"] == {"prompt_tokens": 9, "completion_tokens": 5}
    assert opened.ended and not opened.cut_short and not opened.interim and not truncated
    assert json.loads((opened.events() or ([], 1.0))[0][0])["choices"][0]["delta"] == {"content": "Hello"}


@pytest.mark.parametrize("size", [7, 1 << 20])
def test_an_error_named_in_a_stream_without_blank_lines_is_recorded(size: int) -> None:
    opened = read((CHUNK % b"null" + b"\n") * 3 + b"event: error\ndata: overloaded\n", size=size)
    picks, _, _ = opened.evidence()
    assert opened.failed
    assert "overloaded" in picks[-1].decode()


def test_endless_line_is_not_kept_and_marks_the_evidence_as_truncated() -> None:
    opened = read((CHUNK % b"null" + b"\n") * 3, size=1 << 20)
    for _ in range(40):
        opened.feed(b"x" * 100_000)
    opened.feed(b"\n" + USAGE + b"\n")
    picks, _, truncated = opened.evidence()
    assert json.loads(picks[-1])["usage"] == {"prompt_tokens": 9, "completion_tokens": 5}
    assert truncated and opened.gap is not None and opened.gap.reason == events.UNREAD_TOO_LARGE
