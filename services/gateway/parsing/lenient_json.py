"""Lenient JSON: what providers accept although the standard forbids it.

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
_OPENING = 8  # bytes that tell a text's encoding
_MAX_MARKS = 20_000  # surrogates, NaNs that are looked at one by one: some 10 ms
_MAX_BRACKETS = 50_000  # runs of brackets

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
# All up to the next run of brackets outside of strings.
_BRACKETS = re.compile(rb'(?:[^"\[\]{}]+|"(?:[^"\\]+|\\.)*+")*+([\[{]+|[\]}]+)', re.DOTALL)
_STARTS = (b"{", b"[", b"")


class WorkLimitExceeded(Exception):
    """A text that cannot be repaired within the bounds of the work."""


def decode(data: bytes | memoryview, decoder: msgspec.json.Decoder[T]) -> T | None:
    """The decoded document; None when even a lenient reader finds no such JSON."""
    try:
        return read(data, decoder)
    except WorkLimitExceeded:
        return None


def read(data: bytes | memoryview, decoder: msgspec.json.Decoder[T]) -> T | None:
    """Like `decode`, but raises WorkLimitExceeded if a repair takes too much work."""
    try:
        return decoder.decode(data)
    except msgspec.ValidationError:  # JSON, but of another type: no repair changes that
        return None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    text = _repaired(data)
    try:
        return decoder.decode(text)
    except RecursionError:
        text = _flattened(text)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    try:
        return decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def repair(data: bytes | memoryview) -> bytes | None:
    """The text as standard JSON in UTF-8; None when that takes too much work.

    The result is not checked: what was no JSON to begin with still is none.
    """
    try:
        return _repaired(data)
    except WorkLimitExceeded:
        return None


def flatten(text: bytes) -> bytes | None:
    """The text with null for every value nested deeper than MAX_DEPTH.

    None for a text that takes too much work.
    """
    try:
        return _flattened(text)
    except WorkLimitExceeded:
        return None


def utf8(data: bytes) -> bytes:
    """A JSON text in UTF-8 without a byte order mark.

    The same object where it is that already.
    """
    return data if data[:1] in _STARTS and b"\0" not in data[:4] else _utf8(data)


def transcoder(start: bytes) -> codecs.IncrementalDecoder | None:
    """A decoder for a text that begins with these bytes; None for UTF-8.

    At least four bytes are needed.
    """
    encoding = json.detect_encoding(start[:_OPENING])
    return None if encoding.startswith("utf-8") else codecs.getincrementaldecoder(encoding)("replace")


def _repaired(data: bytes | memoryview) -> bytes:
    if len(data) > MAX_REPAIR:
        raise WorkLimitExceeded
    return _replace_not_a_number(_replace_halves(_utf8(bytes(data)).translate(_CONTROL)))


def _flattened(text: bytes) -> bytes:
    kept: list[bytes] = []
    depth = copied = 0
    for seen, match in enumerate(_BRACKETS.finditer(text)):
        if seen > _MAX_BRACKETS:
            raise WorkLimitExceeded
        start, end = match.span(1)
        if text[start] in b"[{":
            above = depth
            depth += end - start
            if above <= MAX_DEPTH < depth:
                kept.append(text[copied : start + MAX_DEPTH - above])
        else:
            above = depth
            depth -= end - start
            if depth <= MAX_DEPTH < above:
                kept.append(b"null")
                copied = end - (MAX_DEPTH - depth)
    if depth > MAX_DEPTH:  # broken off in the depth
        raise WorkLimitExceeded
    kept.append(text[copied:])
    return b"".join(kept)


def _utf8(data: bytes) -> bytes:
    """The text in UTF-8 without a byte order mark."""
    encoding = json.detect_encoding(data)
    try:
        return data.decode(encoding, "strict" if encoding.startswith("utf-8") else "replace").encode()
    except UnicodeError:  # replaced one by one, a megabyte of invalid bytes would cost 50 ms
        return data.removeprefix(codecs.BOM_UTF8).translate(_ASCII)


def _replace_halves(text: bytes) -> bytes:
    """The text with U+FFFD for each half of a surrogate pair."""
    if b"\\ud" not in text and b"\\uD" not in text:
        return text
    kept: list[bytes] = []
    copied = 0
    for seen, match in enumerate(_SURROGATE.finditer(text)):
        if seen > _MAX_MARKS:
            raise WorkLimitExceeded
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


def _replace_not_a_number(text: bytes) -> bytes:
    """The text with null for NaN and the infinities."""
    count = text.count(b"NaN") + text.count(b"Infinity")
    if not count:
        return text
    if count > _MAX_MARKS:
        raise WorkLimitExceeded
    return _NOT_A_NUMBER.sub(b"null", _NEGATIVE.sub(b"null", text))
