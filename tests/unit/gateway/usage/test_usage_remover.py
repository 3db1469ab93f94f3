"""The usage chunk that the gateway asked for must not reach the client, and nothing else may be missing or late."""

import json
from typing import Any

import pytest

from services.gateway.parsing import sse
from services.gateway.usage import usage_remover
from services.gateway.usage.usage_remover import FREE_EDITS, LAST_EDITS, Remover

DELTA = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"%d"}}]}'
USAGE = b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7}}'


def passed(stream: bytes, *, size: int = 1 << 20) -> bytes:
    remover = Remover()
    parts = [remover.feed(stream[start : start + size]) for start in range(0, len(stream), size)]
    return b"".join((*parts, remover.end()))


@pytest.mark.parametrize("size", [1, 7, 50, 1 << 20])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_the_usage_chunk_does_not_leak_where_blank_lines_are_missing(end: bytes, size: int) -> None:
    before = (DELTA % 1 + end) * 3
    assert passed(before + USAGE + end + b"data: [DONE]" + end, size=size) == before + b"data: [DONE]" + end


@pytest.mark.parametrize("size", [1, 7, 50, 1 << 20])
def test_the_name_and_id_of_a_removed_chunk_do_not_attach_to_the_next_event(size: int) -> None:
    named = b"event: delta\nid: %d\n"
    before = b"".join(named % at + DELTA % at + b"\n" for at in range(3))
    after = named % 4 + b"data: [DONE]\n"
    assert passed(before + named % 3 + USAGE + b"\n" + after, size=size) == before + after


def test_lines_without_blank_lines_reach_the_client_as_they_come() -> None:
    remover = Remover()
    lines = [DELTA % at + b"\n" for at in range(50)]
    got = [remover.feed(line) for line in lines]
    assert b"".join(got) == b"".join(lines)
    assert all(got[2:])


def test_null_usage_is_removed_from_lines_without_blank_lines() -> None:
    line = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}],"usage": null}\n'
    assert passed(line * 3) == line.replace(b',"usage": null', b"") * 3


def test_data_on_several_lines_is_still_one_event() -> None:
    event = b'data: {"choices":[],\ndata: "usage":{"prompt_tokens":1}}\n\n'
    assert passed(DELTA % 1 + b"\n\n" + event + b"data: [DONE]\n\n") == DELTA % 1 + b"\n\ndata: [DONE]\n\n"


@pytest.mark.parametrize("size", [1000, 1 << 20])
def test_no_null_usage_is_left_in_a_long_ordinary_stream(size: int) -> None:
    event = DELTA % 1 + b"\n\n"
    padded = event.replace(b"}\n", b',"obfuscation":"x9Q"}\n')
    asked = padded.replace(b',"obf', b',"usage":null,"obf')
    block = asked * (size // len(asked))
    remover = Remover()
    got = b"".join(remover.feed(block) for _ in range(0, 10_000 * len(asked), len(block)))
    assert got == padded * (len(got) // len(padded))
    assert remover.feed(USAGE + b"\n\n") == b""


@pytest.mark.parametrize("size", [3, 64, 1000])
def test_a_defect_passes_the_bytes_unharmed_and_is_reported(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    calls = 0
    feed = sse.EventSplitter.feed

    def fails(splitter: sse.EventSplitter, data: bytes) -> bytes:
        nonlocal calls
        calls += 1
        found = feed(splitter, data)
        if calls == 4:
            raise RuntimeError("a defect")
        return found

    monkeypatch.setattr(sse.EventSplitter, "feed", fails)
    stream = b"".join(DELTA % at + b"\n\n" for at in range(200))
    remover = Remover()
    errors: list[Exception] = []
    remover.failed = errors.append
    parts = [remover.feed(stream[start : start + size]) for start in range(0, len(stream), size)]
    assert b"".join((*parts, remover.end())) == stream
    assert len(errors) == 1


@pytest.mark.parametrize("size", [7, 64, 1000])
@pytest.mark.parametrize("broken", ["_feed_lines", "_edit_lines"])
def test_a_defect_in_a_stream_without_blank_lines_harms_no_byte(
    monkeypatch: pytest.MonkeyPatch, broken: str, size: int
) -> None:
    def fails(*_: object, **__: object) -> bytes:
        raise RuntimeError("a defect")

    stream = b"".join(DELTA % at + b"\n" for at in range(40)) + USAGE + b"\ndata: [DONE]\n"
    remover = Remover()
    errors: list[Exception] = []
    remover.failed = errors.append
    parts = [remover.feed(stream[:300])]
    monkeypatch.setattr(remover, broken, fails)
    parts += [remover.feed(stream[start : start + size]) for start in range(300, len(stream), size)]
    assert b"".join((*parts, remover.end())) == stream
    assert len(errors) == 1


def test_a_defect_at_the_end_of_a_stream_harms_no_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: object) -> bytes:
        raise RuntimeError("a defect")

    stream = DELTA % 1 + b"\n\n" + DELTA % 2
    remover = Remover()
    errors: list[Exception] = []
    remover.failed = errors.append
    parts = [remover.feed(stream)]
    monkeypatch.setattr(sse.EventSplitter, "end", fails)
    assert b"".join((*parts, remover.end())) == stream
    assert len(errors) == 1


class Counted:
    def __init__(self, function: Any) -> None:
        self.function = function
        self.calls = 0

    def __call__(self, *args: Any) -> Any:
        self.calls += 1
        return self.function(*args)


@pytest.mark.parametrize(
    "event",
    [b'data: {"usage":{"prompt_tokens":1},"choices":[1]}\n\n', b'data: {"choices":[1],"usage": null,"x":1}\n\n'],
    ids=["stated", "null"],
)
def test_very_many_events_with_usage_are_edited_within_a_budget(event: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    edited = Counted(usage_remover._edited)  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(usage_remover, "_edited", edited)
    stream = event * 100_000 + USAGE + b"\n\ndata: [DONE]\n\n"
    size = 256 << 10
    got = passed(stream, size=size)
    assert edited.calls <= FREE_EDITS + LAST_EDITS * (len(stream) // size + 2)
    assert got.endswith(event[-4:] + b"data: [DONE]\n\n")
    assert USAGE not in got
    assert json.loads(sse.datas(got)[0])
