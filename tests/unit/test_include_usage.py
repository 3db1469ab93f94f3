"""The client must get exactly the stream it would have had without our asking for usage."""

import json
from pathlib import Path

import pytest

from services.gateway import include_usage
from services.gateway.ask import read

RECORDINGS = Path(__file__).parents[1] / "recordings"


def asked(body: bytes) -> bytes | None:
    return include_usage.ask(body, bytes(read(body).stream_options))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            b'{"stream":true,"temperature":1e5}',
            b'{"stream_options":{"include_usage":true},"stream":true,"temperature":1e5}',
        ),
        (b' {\n "stream": true}', b' {"stream_options":{"include_usage":true},\n "stream": true}'),
        (b'{"stream":true,"stream_options":{"include_usage":true}}', None),
        (b'{"stream":true,"stream_options":7}', None),
    ],
)
def test_only_the_option_is_added(body: bytes, expected: bytes | None) -> None:
    assert asked(body) == expected


@pytest.mark.parametrize("options", ["null", "{}", '{"include_obfuscation":false}', '{"include_usage":false}'])
def test_other_stream_options_are_kept(options: str) -> None:
    changed = asked(f'{{"stream":true,"x":"é","stream_options":{options}}}'.encode())
    assert changed is not None
    assert json.loads(changed) == {
        "stream": True,
        "x": "é",
        "stream_options": {**(json.loads(options) or {}), "include_usage": True},
    }


def removed(stream: bytes, size: int) -> bytes:
    remover = include_usage.Remover()
    parts = [remover.feed(stream[i : i + size]) for i in range(0, len(stream), size)]
    return b"".join(parts) + remover.end()


@pytest.mark.parametrize("size", [1, 7, 100, 5000])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_the_stream_is_byte_identical_to_one_without_usage(size: int, line_end: bytes) -> None:
    with_usage = (RECORDINGS / "openai/chat_stream_usage.sse").read_bytes().replace(b"\n", line_end)
    without = (RECORDINGS / "openai/chat_stream_nousage.sse").read_bytes().replace(b"\n", line_end)
    assert removed(with_usage, size) == without


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        # Azure's filter results: empty choices and no usage
        (b'data: {"choices":[],"prompt_filter_results":[]}\n\n', None),
        # the field as text of the answer
        (b'data: {"choices":[{"delta":{"content":",\\"usage\\":null"}}]}\n\n', None),
        # the field inside another object stays, the top-level one goes
        (
            b'data: {"choices":[{"delta":{"x":1,"usage":null}}],"usage":null}\n\n',
            b'data: {"choices":[{"delta":{"x":1,"usage":null}}]}\n\n',
        ),
        (b'data: {"choices":[{"delta":{"x":1,"usage":null}}]}\n\n', None),
        (b'data: {"usage": null, "choices":[{}]}\n\n', b'data: {"choices":[{}]}\n\n'),
        (b'data: {"choices":[{}] , "usage" : null}\n\n', b'data: {"choices":[{}]}\n\n'),
        # usage on a chunk with content is the provider's own
        (b'data: {"choices":[{}],"usage":{"prompt_tokens":1}}\n\n', None),
        (b'data: {"usage":{}, "choices": [ ]}\n\ndata: [DONE]\n\n', b"data: [DONE]\n\n"),
        (b': "usage" keep-alive\n\n', None),
        (b'data: {"usage":nul\n\n', None),
        (b'data: {"choices":[],"usage":{}}', b""),
    ],
)
def test_exactly_what_the_asking_added_is_taken_out(event: bytes, expected: bytes | None) -> None:
    for size in (1, 9, 1000):
        assert removed(event, size) == (event if expected is None else expected)
