"""Delays of many streams at once."""

from array import array

import pytest

from tests.bench.streams import Stream, summary

MS = 1_000_000


@pytest.fixture
async def streams() -> list[Stream]:
    found = [Stream(b"") for _ in range(4)]
    for stream in found:
        stream.delays = array("q", [MS, 2 * MS])
    return found


async def test_a_stream_is_held_if_every_chunk_arrived_in_time(streams: list[Stream]) -> None:
    assert summary(streams, chunks=2)["held"] == 4


async def test_a_late_chunk_a_missing_one_and_a_failure_are_not_held(streams: list[Stream]) -> None:
    late, short, failed, _ = streams
    late.delays = array("q", [MS, 300 * MS])
    short.delays = array("q", [MS])
    failed.failed = "HTTP/1.1 429 Too Many Requests"
    assert summary(streams, chunks=2)["held"] == 1


async def test_delays_are_those_of_all_chunks_in_milliseconds(streams: list[Stream]) -> None:
    found = summary(streams, chunks=2)
    assert (found["p50_ms"], found["p99_ms"], found["most_ms"]) == (2.0, 2.0, 2.0)


async def test_delays_are_read_from_chunks_that_arrive_in_pieces() -> None:
    stream = Stream(b"")
    event = b'data: {"choices":[{"delta":{"content":"%020d"}}]}\n\n' % 1
    whole = b"HTTP/1.1 200 OK\r\n\r\n" + event + event
    for at in range(0, len(whole), 7):
        stream.data_received(whole[at : at + 7])
    assert len(stream.delays) == 2
