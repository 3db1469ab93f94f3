"""The client must get exactly the stream it would have had without our asking for usage."""

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.parsing import lenient_json, sse
from services.gateway.request.params import read
from services.gateway.usage import include_usage, usage_remover
from tests.support import paths
from tests.support.sse_reframing import LINE_ENDS, cut
from tests.support.sse_samples import SseSample, sse_samples

RECORDINGS = paths.RECORDINGS


def asked(body: bytes) -> bytes | None:
    pieces = include_usage.requested(body, bytes(read(body).stream_options))
    return None if pieces is None else b"".join(pieces)


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


TOOL = b'"tools":[{"parameters":{"properties":{"stream_options":%s,"x":"\\"stream_options\\":{}"}}}]'


@pytest.mark.parametrize("options", [b"{}", b"null", b'{"include_obfuscation": false}', b'{ "include_usage" : false }'])
@pytest.mark.parametrize(
    "body",
    [
        b'{"stream":true, "stream_options" : %s,"n":1e5,"x":"\xff"}',
        b'{"stream":true,' + TOOL + b',"stream_options":%s}',
        b'{"stream_options":%s,"stream":true,' + TOOL + b"}",
        b'{"x":["stream_options"],"stream_options":\n\t%s}',
        b'{"user":"\\ud83d","seed":NaN,"stream_options":%s}',
        b'{"stream_options":%s,"x":' + b"[" * 1500 + b"]" * 1500 + b"}",
    ],
    ids=["spaces", "nested before", "nested behind", "named in a list", "lenient", "deep"],
)
def test_only_the_bytes_of_the_option_change(body: bytes, options: bytes) -> None:
    count = body.count(b"%s")
    for place in range(count):
        values = [b'{"other":1}'] * count if TOOL not in body else [options] * count
        values[place] = options
        whole = body % tuple(values)
        changed = asked(whole)
        assert changed is not None
        top = 0 if body.startswith(b'{"stream_options"') else count - 1  # of the places
        parts = body.split(b"%s")
        before = b"".join(part + value for part, value in zip(parts[:top], values[:top], strict=True)) + parts[top]
        behind = b"".join(value + part for part, value in zip(parts[top + 1 :], [b"", *values[top + 1 :]], strict=True))
        assert changed.startswith(before) and changed.endswith(behind)
        given = json.loads(options) or {}
        assert json.loads(changed[len(before) : len(changed) - len(behind)]) == {**given, "include_usage": True}


@pytest.mark.parametrize(
    "body",
    [
        b'{"stream":true,"stream_options":{"include_usage":true}}',
        b'{"stream":true,"stream_options":{"include_usage":1}}',
        b'{"stream":true,"stream_options":[]}',
        b'{"stream":true,"stream_options":"{}"}',
        b'{"stream":true,"stream\\u005foptions":{},"tools":[{"stream_options":{}}]}',
        b'{"stream_options":{},"x":[' + b'{"stream_options":{}},' * 20 + b"0]}",
    ],
)
def test_body_that_sets_include_usage_or_is_ambiguous_is_unchanged(body: bytes) -> None:
    assert asked(body) is None


def test_a_long_body_is_spliced_and_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding and encoding 30 MB stopped all other requests for 2.6 s."""
    body = b'{"model":"m","stream":true,"stream_options":{},"messages":[' + b'{"role":"user"},' * 600_000 + b"1]}"
    decoded: list[int] = []
    decode = lenient_json.decode

    def counted(data: bytes, decoder: Any) -> Any:
        decoded.append(len(data))
        return decode(data, decoder)

    monkeypatch.setattr(lenient_json, "decode", counted)
    pieces = include_usage.requested(body, b"{}")
    changed = b"".join(pieces or ())
    assert changed == body.replace(b"{}", b'{"include_usage":true}', 1)
    assert sum(decoded) < 100


def test_last_of_duplicate_stream_options_gets_include_usage() -> None:
    body = b'{"stream_options":{"a":1},"stream":true,"stream_options":{"a":1}}'
    assert asked(body) == b'{"stream_options":{"a":1},"stream":true,"stream_options":{"include_usage":true,"a":1}}'


def removed(stream: bytes, size: int) -> bytes:
    remover = usage_remover.Remover()
    parts = [remover.feed(stream[i : i + size]) for i in range(0, len(stream), size)]
    return b"".join(parts) + remover.end()


@pytest.mark.parametrize("size", [1, 7, 100, 5000])
@pytest.mark.parametrize("line_end", LINE_ENDS)
def test_the_stream_is_byte_identical_to_one_without_usage(size: int, line_end: bytes) -> None:
    with_usage = (RECORDINGS / "openai/chat_stream_usage.sse").read_bytes().replace(b"\n", line_end)
    without = (RECORDINGS / "openai/chat_stream_nousage.sse").read_bytes().replace(b"\n", line_end)
    assert removed(with_usage, size) == without


ADDED = [
    '{"choices":[],"usage":{"prompt_tokens":3}}',
    '{"choices":null,"usage":{"prompt_tokens":3}}',
    '{"usage":{"prompt_tokens":3},"model":"m"}',
    '{ "choices" : [ ] , "usage" : {"prompt_tokens":3}, "error": null }',
    '{"choices":[\n],\n"usage"\n:\n{"prompt_tokens":3}}',
    '{"choices":[],"x":"\\ud83d","y":NaN,"usage":{"prompt_tokens":3}}',
    '{"choices":[],"x":' + "[" * 1100 + "]" * 1100 + ',"usage":{"prompt_tokens":3}}',
]
OWN = [
    '{"choices":[{"delta":{"content":"Hi"}}],"usage":{"prompt_tokens":3}}',
    '{"choices":[],"prompt_filter_results":[]}',
    '{"error":{"message":"no"},"usage":{"prompt_tokens":3}}',
    '{"choices":[{"delta":{"content":"\\"usage\\":null"}}]}',
    '{"choices":[],"usage":7}',
    '{"choices":[{}],"x\\"usage":null}',
    '{"usage":nul',
    "[DONE]",
]
NULLED = [
    ('{"choices":[{}],\n"usage":null}', '{"choices":[{}]\n}'),
    ('{"choices":[{}],"usage"\n:\nnull\n,"z":1}', '{"choices":[{}]\n\n,"z":1}'),
    ('{\n"usage":null,"choices":[{"usage":null}]}', '{\n"choices":[{"usage":null}]}'),
    ('{"usage":null}', "{}"),
]


def event(draw: random.Random, data: str) -> bytes:
    """One event in some form of the standard; its lines do not depend on the data."""
    end = draw.choice(LINE_ENDS)
    lines = [("data:" + draw.choice((" ", ""))).encode() + line.encode() for line in data.split("\n")]
    lines.insert(draw.randint(0, len(lines)), draw.choice((b": alive", b"id: 1", b"event: message", b"x")))
    return b"".join(line + end for line in [*lines, b""])


def comments(raw: bytes) -> bytes:
    return b"".join(line for line in raw.splitlines(keepends=True) if line.startswith(b":"))


@given(st.integers(0, 2**32), st.lists(st.sampled_from([*ADDED, *OWN, *NULLED]), max_size=6))
def test_whatever_form_a_stream_has_the_client_gets_what_it_would_have_got(
    seed: int, datas: list[str | tuple[str, str]]
) -> None:
    """Added chunks are gone but for comments, null usage is gone, every other byte passes."""
    draw = random.Random(seed)
    stream = expected = b""
    for data in datas:
        state = draw.getstate()
        raw = event(draw, data if isinstance(data, str) else data[0])
        kept = comments(raw) if data in ADDED else raw
        if not isinstance(data, str):
            draw.setstate(state)
            kept = event(draw, data[1])
        if stream.endswith(b"\r") and raw.startswith(b"\n"):
            continue
        stream += raw
        expected += kept
    came = []
    remover = usage_remover.Remover()
    for piece in cut(stream, seed):
        came.append(remover.feed(piece))
    came.append(remover.end())
    got = b"".join(came)
    if any(isinstance(data, tuple) for data in datas):
        assert [_plain(data) for data in sse.datas(got)] == [_plain(data) for data in sse.datas(expected)]
    else:
        assert got == expected


def _plain(data: bytes) -> object:
    try:
        return json.loads(data)
    except ValueError:
        return data


@given(sse_samples())
def test_a_stream_without_usage_passes_byte_for_byte_and_at_once(sample: SseSample) -> None:
    remover = usage_remover.Remover()
    came = sent = b""
    for chunk in sample.chunks:
        sent += chunk
        came += remover.feed(chunk)
        assert sent.startswith(came)
        assert not sse.datas(sent[len(came) :])[1:]  # at most one unfinished event is held
    assert came + remover.end() == sample.body


def test_a_stream_with_cr_line_ends_is_as_lively_as_it_came() -> None:
    remover = usage_remover.Remover()
    assert remover.feed(b"data: 1\r") == b""
    assert remover.feed(b"\r") == b"data: 1\r\r"
    assert remover.feed(b": alive\r") == b": alive\r"


@pytest.mark.parametrize("size", [333, 65536])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_an_event_of_any_length_is_passed_on_and_not_kept(size: int, line_end: bytes) -> None:
    start = b'data: {"choices":[{"delta":{"content":"' + b"x" * (2 << 20)
    end = b'"}}]%s,"obfuscation":"ab"}\n\n'
    added = b',"usage":null'
    chunk = b'data: {"choices":[],"usage":{}}\n\n'
    stream = ((start + end) % added + chunk).replace(b"\n", line_end)
    remover = usage_remover.Remover()
    held = 0
    came = []
    for at in range(0, len(stream), size):
        came.append(remover.feed(stream[at : at + size]))
        held = max(held, at + size - sum(map(len, came)))
    assert b"".join(came) + remover.end() == ((start + end) % b"").replace(b"\n", line_end)
    assert held < 1.1 * usage_remover.MAX_EVENT + 65536


def test_a_line_end_cut_in_two_stays_with_its_event() -> None:
    remover = usage_remover.Remover()
    assert remover.feed(b'data: {"choices":[],"usage":{}}\r\rdata: 1') == b""
    assert remover.feed(b"\ndata: 2\n\n") == b"data: 1\ndata: 2\n\n"
    assert remover.feed(b"data: 0\r\n\r") == b"data: 0\r\n\r"
    assert remover.feed(b'\ndata: {"choices":[],"usage":{}}\r\n\r') == b"\n"
    assert remover.feed(b"\ndata: 1\n\n") == b"data: 1\n\n"


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
def test_only_usage_added_by_the_gateway_is_removed(event: bytes, expected: bytes | None) -> None:
    for size in (1, 9, 1000):
        assert removed(event, size) == (event if expected is None else expected)
