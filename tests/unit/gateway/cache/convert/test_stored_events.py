"""A stored stream must reach the client with the bytes it came with, however its events are parted."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.cache import convert
from services.gateway.parsing import sse
from shared import events
from tests.support import sample_responses
from tests.support.sample_responses import GENERATE

PIECES = st.lists(st.sampled_from([b"\n", b"\r\n", b"\r", b"data: x", b"data:", b": ping", b"event: e", b"\xff", b"id: 1"]), max_size=30)  # fmt: skip


@given(st.binary(max_size=300) | PIECES.map(b"".join))
def test_the_events_of_any_stream_join_to_the_same_bytes(stream: bytes) -> None:
    pieces = convert.events(stream)
    assert b"".join(pieces) == stream
    assert all(pieces)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_events_are_cut_behind_their_blank_lines(end: bytes) -> None:
    found = [b"event: a" + end + b"data: 1" + end * 2, b": comment" + end * 3, b"data: 2" + end + b"data: 3" + end]
    assert convert.events(b"".join(found)) == found
    assert sse.datas(b"".join(found)) == [b"1", b"2\n3"]


@pytest.mark.parametrize("name", sample_responses.STREAMS)
def test_a_recorded_stream_has_as_many_events_as_it_has_data_lines(name: str) -> None:
    stream = sample_responses.STREAMS[name].body
    assert len(convert.events(stream)) == stream.count(b"data: ") == len(sse.datas(stream))


def test_written_events_hold_no_line_end_that_some_client_would_take_for_one() -> None:
    data = '{\r\n "a": "x\u2028y\u2029z\x85"\n}'.encode()
    (event,) = convert.events(sse.written([("e", data)]))
    assert len(event.decode().splitlines()) == 3
    assert json.loads(sse.datas(event)[0]) == {"a": "x\u2028y\u2029z\x85"}


@pytest.mark.parametrize("name", ["gemini/stream.sse", "gemini thoughts stream"])
def test_geminis_array_is_the_same_chunks(name: str) -> None:
    one = sample_responses.STREAMS[name]
    array = convert.to_array(events.GEMINI, one.body)
    assert json.loads(array) == [json.loads(data) for data in sse.datas(one.body)]
    assert sse.datas(convert.from_array(events.GEMINI, array)) == sse.datas(one.body)
    pretty = json.dumps(json.loads(array), indent=2).encode()
    for form in (array, pretty, b"\n" + array):
        assert convert.storable(events.GEMINI, GENERATE, form, stream=True)
        assert not convert.storable(events.GEMINI, GENERATE, form, stream=False)
        assert convert.to_document(events.GEMINI, GENERATE, form) == convert.to_document(*one[1:])
    assert not convert.storable(events.GEMINI, GENERATE, array[:-1], stream=True)
    with pytest.raises(convert.Unconvertible):
        convert.from_array(events.GEMINI, array[:-1])


def test_each_form_has_its_media_type() -> None:
    for dialect in (events.ANTHROPIC, events.OPENAI_CHAT, events.OPENAI_RESPONSES, events.GEMINI):
        assert convert.media_type(dialect, stream=True).startswith("text/event-stream")
        assert convert.media_type(dialect, stream=False).startswith("application/json")
    assert convert.media_type(events.GEMINI, stream=True, array=True).startswith("application/json")
