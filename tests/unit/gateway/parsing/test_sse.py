"""An event stream must be read alike in every form the standard allows, however its bytes arrive."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.parsing import sse
from services.gateway.parsing.sse import EventSplitter
from tests.support.sse_samples import SseSample, parse, sse_samples

PIECES = st.lists(
    st.sampled_from((b"\n", b"\r\n", b"\r", b"data: x", b"data:", b"data", b": ping", b"event: e", b"\xff", b"id: 1")),
    max_size=30,
)


def split(chunks: list[bytes]) -> list[bytes]:
    splitter = EventSplitter()
    blocks = [splitter.feed(chunk) for chunk in chunks]
    return [*blocks, splitter.end()]


def datas(blocks: list[bytes]) -> list[bytes]:
    return [data for block in blocks for data in sse.datas(block)]


@given(sse_samples())
def test_every_form_of_a_stream_yields_the_events_of_a_conforming_reader(sample: SseSample) -> None:
    expected = [event.data for event in (*sample.events, *([sample.unfinished] if sample.unfinished else []))]
    assert [data.decode() for data in sse.datas(sample.body)] == expected
    for chunks in (list(sample.chunks), [bytes([byte]) for byte in sample.body]):
        assert [data.decode() for data in datas(split(chunks))] == expected


@given(PIECES.map(b"".join), st.lists(st.integers(1, 12), max_size=8))
def test_blocks_join_to_the_stream_and_hold_whole_events_only(stream: bytes, sizes: list[int]) -> None:
    chunks = []
    rest = stream
    for size in sizes:
        chunks.append(rest[:size])
        rest = rest[size:]
    *blocks, last = split([*chunks, rest])
    assert b"".join(blocks) + last == stream
    assert [data.decode("utf-8", "replace") for data in datas(blocks)] == [event.data for event in parse(stream)]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_an_event_is_handed_out_with_the_byte_that_ends_it(end: bytes) -> None:
    splitter = EventSplitter()
    event = b"event: a" + end + b"data: 1" + end + end
    for _ in range(3):
        came = [splitter.feed(event[at : at + 1]) for at in range(len(event))]
        last = len(event) - (2 if end == b"\r\n" else 1)  # a browser too dispatches at CR
        assert came[last] + b"".join(came[last + 1 :]) == event or came[last].lstrip(b"\n") == event[: last + 1]
        assert not any(part.strip() for part in came[:last])


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_a_keepalive_comment_is_not_held_until_the_next_event(end: bytes) -> None:
    splitter = EventSplitter()
    assert splitter.feed(b": alive" + end) == b": alive" + end
    assert splitter.feed(b":" + end + b": still" + end + b"data: 1") == b":" + end + b": still" + end
    assert bytes(splitter.held) == b"data: 1"
    assert splitter.feed(end + end) == b"data: 1" + end + end


@given(sse_samples(most=3), st.integers(0, 40))
def test_a_spilled_event_ends_where_the_standard_says(sample: SseSample, limit: int) -> None:
    splitter = EventSplitter()
    came: list[bytes] = []
    pieces: list[bytes] = []
    for chunk in sample.chunks:
        rest = chunk
        while rest:
            if splitter.spilled:
                piece, rest = splitter.proceed(rest)
                pieces.append(piece)
                if not splitter.spilled:
                    came.append(b"".join(pieces))
                    pieces = []
                continue
            came.append(splitter.feed(rest))
            rest = b""
            if len(splitter.held) > limit:
                pieces = [splitter.release_unfinished()]
    came += [b"".join(pieces), splitter.end()]
    assert b"".join(came) == sample.body
    assert datas(came) == sse.datas(sample.body)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"data: {}", True),
        (b"data:{}", True),
        (b"event: message_start\n", True),
        (b"\xef\xbb\xbf: hello", True),
        (b"\r\n\r\ndata: 1", True),
        (b"id: 1", True),
        (b"data\ndata: 1", True),
        (b"da", True),
        (b"r", True),
        (b'{"data": 1}', False),
        (b"[", False),
        (b"dataset", False),
        (b"identity", False),
        (b"", False),
        (b"\n", False),
        (b"<html>", False),
    ],
)
def test_a_stream_without_its_content_type_is_known_by_its_first_bytes(body: bytes, expected: bool) -> None:
    assert sse.may_be_event_stream(body) is expected
