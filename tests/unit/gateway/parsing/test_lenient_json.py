"""Lenient JSON: the fields that bear on money are read from whatever providers and servers accept."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.parsing import lenient_json


class Document(msgspec.Struct):
    usage: msgspec.Raw = msgspec.Raw()
    model: Any = None


DECODER = msgspec.json.Decoder(Document)
ANY = msgspec.json.Decoder(Any)
USAGE = b'"usage":{"x":1}'


def usage(data: bytes) -> bytes | None:
    found = lenient_json.decode(data, DECODER)
    return None if found is None else bytes(found.usage)


@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"],
)
def test_every_unicode_encoding_is_read(encoding: str) -> None:
    assert usage(f'{{"text":"é \U0001f600",{USAGE.decode()}}}'.encode(encoding)) == b'{"x":1}'


@pytest.mark.parametrize(
    "text",
    [
        b'"\\ud83d"',
        b'"\\ude00"',
        b'"\\ud83d\\ud83d\\ude00"',
        b'"\\uD83D x"',
        b'"\\\\ud83d\\ude00"',  # an escaped backslash, then half a pair
        b'"\\\\\\ud83d"',
        b'"' + b"\\\\" * 1000 + b'\\ud83d"',
        b"NaN",
        b"-Infinity",
        b"[NaN,Infinity, -Infinity ,\nNaN]",
        b'"\x00\n\t"',
        b'"\xff\xfe"',
        b'NaN,"c":"\xff"',
        b"[" * 980 + b"]" * 980,
        b'{"a":' * 980 + b"1" + b"}" * 980,
        b'{"a]\\"":[' * 400 + b'"[{"' + b"]}" * 400,
        b"[" * 100_000 + b"]" * 100_000,
        b"[[{}]," * 50 + b"[" * 2000 + b"]" * 2000 + b"]" * 50,
    ],
)
def test_nonstandard_json_that_servers_accept_does_not_hide_usage(text: bytes) -> None:
    assert usage(b'{"a":%s,%s}' % (text, USAGE)) == b'{"x":1}'
    assert usage(b'{%s,"a":%s}' % (USAGE, text)) == b'{"x":1}'


def test_repairs_leave_other_values_unchanged() -> None:
    found = lenient_json.decode(b'{"a":NaN,"model":"\\\\ud83d \\ud83d\\ude00 caf\xc3\xa9"}', DECODER)
    assert found is not None
    assert found.model == "\\ud83d \U0001f600 café"


@pytest.mark.parametrize("data", [b"", b"{", b"null", b"[]", b'{"a":1,}', b"\xef\xbb\xbf", b"\x00", b'{"a":"' + b"\\"])
def test_input_that_is_not_a_json_object_yields_none(data: bytes) -> None:
    assert usage(data) is None


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":NaN,"b":"' + b"x" * lenient_json.MAX_REPAIR + b'"}',
        b'{"a":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}" + b"[{}," * 50_000,
        b'{"a":' + b"[" * 2_000,
        b'{"a":"' + b"\\ud83d" * 100_000 + b'"}',
        b'{"a":[' + b"NaN," * 100_000 + b"1]}",
    ],
)
def test_a_repair_gives_up_beyond_its_bounds(data: bytes) -> None:
    assert usage(data) is None


@given(st.binary(max_size=300))
def test_no_bytes_raise(data: bytes) -> None:
    lenient_json.decode(data, ANY)
    lenient_json.decode(b'{"a":NaN,' + data, ANY)


_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@given(_values, st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]), st.booleans())
def test_standard_json_reads_the_same_in_any_encoding(value: Any, encoding: str, ascii_only: bool) -> None:
    text = json.dumps({"a": float("nan"), "value": value}, ensure_ascii=ascii_only)
    assert lenient_json.decode(text.encode(encoding, "surrogatepass"), ANY) == {"a": None, "value": value}
