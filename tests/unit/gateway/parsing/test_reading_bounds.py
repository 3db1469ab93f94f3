"""Readers give up on texts beyond their bound of work, and not before."""

import msgspec
import pytest

from services.gateway.cache import key
from services.gateway.dialects.message_text import NonText
from services.gateway.parsing import lenient_json, strict_json
from services.gateway.parsing.strict_json import Ambiguous
from services.gateway.usage import json_tap, tap, token_text
from services.gateway.usage.evidence import pick
from shared import events

_ANY: msgspec.json.Decoder[object] = msgspec.json.Decoder()


def read_array(elements: int, monkeypatch: pytest.MonkeyPatch) -> tuple[tap.Tap, int]:
    """A tap that has read an array of so many errors, and how many of them it decoded."""
    decoded = 0

    def counted(text: bytes) -> object:
        nonlocal decoded
        decoded += 1
        return pick(text)

    monkeypatch.setattr(json_tap, "pick", counted)
    opened = tap.open_tap(200, "application/json", "", events.GEMINI)
    opened.feed(b"[" + b",".join([b'{"error":1}'] * elements) + b"]")
    opened.evidence()
    return opened, decoded


def test_array_of_very_many_errors_is_decoded_at_its_beginning_only(monkeypatch: pytest.MonkeyPatch) -> None:
    opened, decoded = read_array(5000, monkeypatch)
    assert decoded <= 600
    assert opened.failed
    assert opened.gap is not None and opened.gap.missing == (events.GAP_TOOLS,)


def test_array_within_the_bound_is_decoded_completely(monkeypatch: pytest.MonkeyPatch) -> None:
    opened, decoded = read_array(256, monkeypatch)
    assert decoded == 256
    assert opened.failed and opened.gap is None


def members(count: int, *, nested: bool) -> bytes:
    inner = b",".join(b'"%d":1' % number for number in range(count))
    return b'{"model":{' + inner + b"}}" if nested else b"{" + inner + b"}"


def test_strict_reader_refuses_more_members_than_it_would_check() -> None:
    assert strict_json.read(members(199_999, nested=True))
    with pytest.raises(Ambiguous, match="too many members to be checked"):
        strict_json.read(members(200_000, nested=True))


def test_strict_reader_refuses_objects_with_more_names_than_it_would_compare() -> None:
    assert len(strict_json.read(members(1000, nested=False))) == 1000
    with pytest.raises(Ambiguous, match="too many members"):
        strict_json.read(members(1001, nested=False))


def test_prompts_of_very_many_values_are_not_counted() -> None:
    def body(commas: int) -> bytes:
        return b'{"messages":[{"role":"user","content":"hi"}],"x":[' + b"1," * commas + b"1]}"

    texts, count = token_text.request_texts(events.OPENAI_CHAT, body(79_000))
    assert ("hi" in texts, count) == (True, 1)
    with pytest.raises(NonText):
        token_text.request_texts(events.OPENAI_CHAT, body(80_000))


def test_requests_of_very_many_values_are_not_cached() -> None:
    def body(values: int) -> bytes:
        return b'{"x":[' + b"1," * (values - 1) + b"1]}"

    assert key._parse(body(199_000)) is not None
    assert key._parse(body(200_000)) is None


@pytest.mark.parametrize("mark", [b'"\\ud800"', b"NaN", b"Infinity"])
def test_lenient_reader_replaces_only_so_many_values(mark: bytes) -> None:
    def text(count: int) -> bytes:
        return b"[" + b",".join([mark] * count) + b"]"

    found = lenient_json.decode(text(20_000), _ANY)
    assert isinstance(found, list) and len(found) == 20_000
    assert lenient_json.decode(text(20_100), _ANY) is None
