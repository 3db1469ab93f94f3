"""Lenient reading of JSON: what providers and servers accept although the standard forbids it.

Reading is strict first, at full speed. Only what the strict reader refuses is repaired in a copy and read again:

- UTF-8 with a byte order mark, UTF-16 and UTF-32 of either byte order, bytes that are no UTF-8;
- half a surrogate pair (`"\\ud83d"`), which becomes U+FFFD;
- `NaN`, `Infinity` and `-Infinity`, which become null;
- raw control characters, which become spaces;
- nesting of any depth: a value deeper than `MAX_DEPTH` becomes null.

A repair is linear in the size of the text and bounded, so hostile input costs milliseconds at most. Nothing raises.
"""

import codecs
import json
import re
from typing import TypeVar

import msgspec

MAX_REPAIR = 1 << 20  # bytes of a text that is repaired: a few ms of work
MAX_DEPTH = 64
_MAX_MARKS = 20_000  # brackets, surrogates, NaNs that are looked at one by one: some 10 ms

T = TypeVar("T")

_HEX = rb"[0-9a-fA-F]{2}"
# A high surrogate, perhaps with its low one, or a low one that stands alone.
_SURROGATE = re.compile(rb"\\u[dD](?:[89abAB]" + _HEX + rb"(\\u[dD][c-fC-F]" + _HEX + rb")?|[c-fC-F]" + _HEX + rb")")
_REPLACEMENT = rb"\ufffd"
_BACKSLASH = ord("\\")
# Where a value may begin. Inside of a string it does no harm: the text stays JSON, and only a copy is changed.
_NEGATIVE = re.compile(rb"-(?<=[\[:,\s]-)(?:NaN|Infinity)(?=[\s,\]}]|$)")
_NOT_A_NUMBER = re.compile(rb"(?:N(?<=[\[:,\s]N)aN|I(?<=[\[:,\s]I)nfinity)(?=[\s,\]}]|$)")
_CONTROL = bytes(0x20 if code < 0x20 else code for code in range(256))
_ASCII = bytes(code if code < 0x80 else ord("?") for code in range(256))
# All up to the next bracket outside of strings.
_BRACKET = re.compile(rb'(?:[^"\[\]{}]+|"(?:[^"\\]+|\\.)*+")*+([\[\]{}])', re.DOTALL)


def decode(data: bytes | memoryview, decoder: msgspec.json.Decoder[T]) -> T | None:
    """The decoded document; None when even a lenient reader finds no JSON of the decoder's type."""
    try:
        return decoder.decode(data)
    except msgspec.ValidationError:  # JSON, but of another type: no repair changes that
        return None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    text = repair(data)
    if text is None:
        return None
    try:
        return decoder.decode(text)
    except RecursionError:
        text = flatten(text)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    try:
        return None if text is None else decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def repair(data: bytes | memoryview) -> bytes | None:
    """The text as standard JSON in UTF-8, nested as before; None beyond the bounds of the work.

    The result is not checked: what was no JSON to begin with still is none.
    """
    if len(data) > MAX_REPAIR:
        return None
    text: bytes | None = _utf8(bytes(data)).translate(_CONTROL)
    for step in (_replace_halves, _replace_not_a_number):
        if text is not None:
            text = step(text)
    return text


def flatten(text: bytes) -> bytes | None:
    """The text with null for every value nested deeper than MAX_DEPTH; None beyond the bounds of the work."""
    kept: list[bytes] = []
    depth = copied = 0
    for seen, match in enumerate(_BRACKET.finditer(text)):
        if seen > _MAX_MARKS:
            return None
        if match.group(1) in b"[{":
            depth += 1
            if depth == MAX_DEPTH + 1:
                kept.append(text[copied : match.start(1)])
        else:
            depth -= 1
            if depth == MAX_DEPTH:
                kept.append(b"null")
                copied = match.end(1)
    if depth > MAX_DEPTH:  # broken off in the depth
        return None
    kept.append(text[copied:])
    return b"".join(kept)


def _utf8(data: bytes) -> bytes:
    """The text in UTF-8 without a byte order mark."""
    encoding = json.detect_encoding(data)
    try:
        return data.decode(encoding, "strict" if encoding.startswith("utf-8") else "replace").encode()
    except UnicodeError:  # replaced one by one, a megabyte of invalid bytes would cost 50 ms
        return data.removeprefix(codecs.BOM_UTF8).translate(_ASCII)


def _replace_halves(text: bytes) -> bytes | None:
    """The text with U+FFFD for each half of a surrogate pair."""
    if b"\\ud" not in text and b"\\uD" not in text:
        return text
    kept: list[bytes] = []
    copied = 0
    for seen, match in enumerate(_SURROGATE.finditer(text)):
        if seen > _MAX_MARKS:
            return None
        start = match.start()
        if _is_escaped(text, start):  # text that looks like an escape; what follows it may be one
            start = match.start(1)
        elif match.group(1):
            continue
        if start >= 0:
            kept.append(text[copied:start])
            kept.append(_REPLACEMENT)
            copied = match.end()
    kept.append(text[copied:])
    return b"".join(kept)


def _is_escaped(text: bytes, position: int) -> bool:
    """Whether the backslash at `position` is itself escaped."""
    reach = 64
    while True:
        before = text[max(position - reach, 0) : position]
        kept = before.rstrip(b"\\")
        if kept or reach >= position:
            return (len(before) - len(kept)) % 2 == 1
        reach *= 16


def _replace_not_a_number(text: bytes) -> bytes | None:
    """The text with null for NaN and the infinities."""
    count = text.count(b"NaN") + text.count(b"Infinity")
    if not count:
        return text
    if count > _MAX_MARKS:
        return None
    return _NOT_A_NUMBER.sub(b"null", _NEGATIVE.sub(b"null", text))
