"""A stream must be recorded alike whatever form of the standard it comes in, and however its bytes arrive."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.cache import convert
from services.gateway.dialects.message_text import NonText
from services.gateway.parsing import sse
from services.gateway.usage import token_estimate, token_text
from services.gateway.usage.sse_tap import SseTap
from services.gateway.usage.tap import open_tap
from services.gateway.usage.usage_remover import Remover
from tests.support import paths, sample_responses
from tests.support.sse_reframing import LINE_ENDS, cut, reframed

RECORDINGS = paths.RECORDINGS
INDEX: dict[str, dict[str, Any]] = {row["file"]: row for row in json.loads((RECORDINGS / "index.json").read_bytes())}
STREAMS = sorted(file for file in INDEX if file.endswith(".sse"))
streams = st.sampled_from(STREAMS)
seeds = st.integers(0, 2**32)


def dialect_of(file: str) -> str:
    row = INDEX[file]
    if row["provider"] in ("anthropic", "gemini") and "openai" not in row["endpoint"]:
        return str(row["provider"])
    if "responses" in row["endpoint"]:
        return "openai_responses"
    return "openai_chat" if "completions" in row["endpoint"] else "openai_other"


def recording(file: str) -> bytes:
    return (RECORDINGS / file).read_bytes()


def recorded(dialect: str, chunks: list[bytes], *, with_texts: bool = True) -> dict[str, Any]:
    """All that accounting learns from a stream."""
    tap = open_tap(200, "text/event-stream", "", dialect, copy=True)
    assert isinstance(tap, SseTap)
    for chunk in chunks:
        tap.feed(chunk)
    picks, tools, truncated = tap.evidence()
    kept = tap.events() if with_texts else ([], 1.0)
    assert kept is not None
    return {
        "picks": [json.loads(pick) for pick in picks],
        "tools": tools,
        "truncated": truncated,
        "end": (tap.ended, tap.failed, tap.usage, tap.cut_short),
        "texts": _texts(dialect, kept[0]),
    }


def _texts(dialect: str, events: list[bytes]) -> object:
    try:
        return token_text.response_texts(dialect, events) if token_text.is_counted(dialect) else None
    except NonText:
        return None


@given(streams, seeds)
def test_a_stream_is_recorded_alike_in_every_form_of_the_standard(file: str, seed: int) -> None:
    original = recording(file)
    dialect = dialect_of(file)
    assert recorded(dialect, cut(reframed(original, seed), seed)) == recorded(dialect, [original])


@given(streams, seeds)
def test_a_stream_is_estimated_alike_in_every_form_of_the_standard(file: str, seed: int) -> None:
    dialect = dialect_of(file)
    counted = []
    for chunks in ([recording(file)], cut(reframed(recording(file), seed), seed)):
        tap = open_tap(200, "text/event-stream", "", dialect, copy=True)
        for chunk in chunks:
            tap.feed(chunk)
        events, times = tap.events() or ([], 0.0)
        counted.append(token_estimate.estimate(dialect, body=b"", events=events, times=times) if times == 1 else None)
    assert counted[0] == counted[1]


@given(st.sampled_from(sorted(sample_responses.STREAMS)), seeds)
def test_a_stream_is_kept_and_given_in_another_form_alike_whatever_form_it_came_in(name: str, seed: int) -> None:
    provider, dialect, endpoint, body = sample_responses.STREAMS[name]
    other = reframed(body, seed)
    assert b"".join(convert.events(other)) == other
    assert convert.storable(dialect, endpoint, other, stream=True) is convert.storable(
        dialect, endpoint, body, stream=True
    )
    documents = []
    for stream in (body, other):
        try:
            documents.append(json.loads(convert.to_document(dialect, endpoint, stream, provider=provider)))
        except convert.Unconvertible:
            documents.append(None)
    assert documents[0] == documents[1]


@given(seeds)
def test_the_same_chunk_is_removed_in_every_form_of_the_standard(seed: int) -> None:
    remover = Remover()
    other = reframed(recording("openai/chat_stream_usage.sse"), seed)
    came = b"".join([*map(remover.feed, cut(other, seed)), remover.end()])
    without = sse.datas(recording("openai/chat_stream_nousage.sse"))
    assert [_parsed(data) for data in sse.datas(came)] == [_parsed(data) for data in without]


def _parsed(data: bytes) -> object:
    return data if data == sse.DONE else json.loads(data)


@pytest.mark.parametrize("end", LINE_ENDS)
@pytest.mark.parametrize("file", STREAMS)
def test_a_stream_is_recorded_alike_wherever_it_is_cut(file: str, end: bytes) -> None:
    dialect = dialect_of(file)
    stream = recording(file).replace(b"\r\n", b"\n").replace(b"\n", end)
    expected = recorded(dialect, [recording(file)], with_texts=False)
    for at in range(1, len(stream), 1 if end == b"\r\n" else 7):
        assert recorded(dialect, [stream[:at], stream[at:]], with_texts=False) == expected


@pytest.mark.parametrize("file", STREAMS)
def test_usage_that_stands_in_the_last_event_counts_without_its_blank_line(file: str) -> None:
    dialect = dialect_of(file)
    stream = recording(file)
    assert recorded(dialect, [stream.rstrip()]) == recorded(dialect, [stream])


@pytest.mark.parametrize(
    "usage", ['"usage":{"prompt_tokens":3}', '"usage" : {"prompt_tokens":3}', '"usage"\n:\n{"prompt_tokens":3}']
)
@pytest.mark.parametrize("choices", ['"choices":[],', '"choices":null,', ""])
def test_usage_of_a_chat_stream_is_read_however_it_is_spaced(usage: str, choices: str) -> None:
    data = f'{{{choices}"model":"m",{usage}}}'.replace("\n", "\ndata:")
    first = b'data: {"model":"m","choices":[{"delta":{"content":"x"}}],"usage":null}\n\n'
    found = recorded("openai_chat", [first, b"data: " + data.encode() + b"\n\n", b"data: [DONE]\n\n"])
    assert found["picks"][-1]["usage"] == {"prompt_tokens": 3}
    assert found["end"] == (True, False, True, False)


FINISH = b'data: {"choices":[{"delta":{},"finish_reason":%s}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1}}\n\n'
CHAT = b'data: {"choices":[{"delta":{"content":"Hi"},"finish_reason":null}]}\n\n'


@pytest.mark.parametrize(
    ("events", "framed", "cut_short"),
    [
        ([CHAT, FINISH % b'"stop"', USAGE], True, False),
        ([CHAT, FINISH % b'"stop"', USAGE], False, True),
        ([CHAT, FINISH % b"null", USAGE], True, True),
        ([CHAT, FINISH % b'"stop"'], True, True),
        ([CHAT, USAGE, FINISH % b'"stop"'], True, False),
        ([CHAT, (FINISH % b'"stop"').replace(b":", b" : ").replace(b"data : ", b"data:"), USAGE], True, False),
        ([CHAT, FINISH % b'"stop"', *[b": alive\n\n"] * 20, USAGE, *[b": alive\n\n"] * 20], True, False),
        ([CHAT, (FINISH % b'"stop"')[:-4] + b'],"usage":{"prompt_tokens":3}}\n\n'], True, False),
    ],
)
def test_a_clean_end_behind_finish_reason_and_usage_is_complete_without_done(
    events: list[bytes], framed: bool, cut_short: bool
) -> None:
    stream = b"".join(events)
    for chunks in (events, [stream], [bytes([byte]) for byte in stream]):
        tap = open_tap(200, "text/event-stream", "", "openai_chat", framed=framed)
        assert isinstance(tap, SseTap)
        for chunk in chunks:
            tap.feed(chunk)
        tap.evidence()
        assert tap.cut_short is cut_short
        assert not tap.ended


def test_a_messages_stream_that_ends_cleanly_behind_its_stop_reason_is_complete() -> None:
    stream = recording("anthropic/messages_stream.sse")
    start = stream.index(b"event: message_stop")
    for framed, end, expected in ((True, start, False), (False, start, True), (True, start // 2, True)):
        tap = open_tap(200, "text/event-stream", "", "anthropic", framed=framed)
        assert isinstance(tap, SseTap)
        tap.feed(stream[:end])
        tap.evidence()
        assert tap.cut_short is expected


@pytest.mark.parametrize("size", [100, 65536])
def test_an_event_beyond_every_bound_is_read_in_bounded_memory(size: int) -> None:
    """Its texts are dropped; its usage, and what comes after it, is not."""
    text = b'{"type":"response.completed","response":{"output":[{"text":"%s"}],\ndata:"usage":{"input_tokens":7}}}'
    long = b"event: response.completed\r\ndata: " + (text % (b"x" * 1_100_000)).replace(b"\n", b"\r\n") + b"\r\n\r\n"
    stream = (
        b'data: {"type":"response.created"}\n\n'
        + long
        + b'data: {"type":"response.failed","response":{"usage":{"input_tokens":8}}}\n\n'
    )
    tap = open_tap(200, "text/event-stream", "", "openai_responses")
    for at in range(0, len(stream), size):
        tap.feed(stream[at : at + size])
    picks, _, truncated = tap.evidence()
    usages = [json.loads(pick).get("response", {}).get("usage") for pick in picks]
    assert usages == [None, {"input_tokens": 7}, {"input_tokens": 8}]
    assert tap.ended and tap.failed and not truncated


def test_a_comment_without_end_is_neither_kept_nor_read() -> None:
    tap = open_tap(200, "text/event-stream", "", "openai_chat")
    tap.feed(b'data: {"model":"m"}\n\n:')
    for _ in range(300):
        tap.feed(b'"usage":{' * 1000)
    tap.feed(b"\n" + USAGE)
    picks, _, truncated = tap.evidence()
    assert len(picks) == 2 and json.loads(picks[1])["usage"] == {"prompt_tokens": 3, "completion_tokens": 1}
    assert not truncated


def test_the_end_is_seen_at_the_line_that_states_it() -> None:
    """A client may leave at the line end of [DONE], before the blank line has come."""
    for dialect, line in (("openai_chat", b"data: [DONE]\n"), ("anthropic", b'data: {"type":"message_stop"}\n')):
        for prefix in (b"", b"event: message_stop\n"):
            tap = open_tap(200, "text/event-stream", "", dialect)
            tap.feed(b'data: {"model":"m"}\n\n')
            tap.feed(prefix + line)
            assert tap.ended
