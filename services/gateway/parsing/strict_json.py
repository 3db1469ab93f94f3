"""Strict JSON objects: every parser finds the same names and values in them."""

import codecs
import re
from collections.abc import Iterator

import msgspec

MAX_NAMES = 1000  # of one object
_MAX_MARKS = 200_000  # quotation marks before a colon in the whole text: some 20 ms of work

_NOT_STRICT = "it is not a JSON object in strict UTF-8"
_SLICE = 64 << 10

_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_SPACE = rb"[ \t\r\n]*+"
_NEXT = re.compile(_SPACE + rb"[{,]" + _SPACE + rb'"(?:[^"\\]|\\.)*+"' + _SPACE + rb":" + _SPACE, re.DOTALL)
_END = re.compile(_SPACE + rb"\}" + _SPACE)


class Ambiguous(ValueError):
    """A text that parsers read differently.

    The message says why, in words that fit after "because".
    """


def read(text: bytes) -> dict[str, bytes]:
    """An object's members: names with escapes resolved, values as raw JSON.

    Ambiguous when it is not strict JSON, not UTF-8, or has a name twice.
    """
    if text.count(b'":') > _MAX_MARKS:
        raise Ambiguous("it has too many members to be checked")
    try:
        check_encoding(text)
        members = _object.decode(text)
    except RecursionError:
        raise Ambiguous("it is nested too deeply") from None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise Ambiguous(_NOT_STRICT) from None
    if len(members) > MAX_NAMES:
        raise Ambiguous("it has too many members")
    return dict(_unique_members(text, members))


def check_encoding(text: bytes) -> None:
    """Ambiguous for a text that is not UTF-8."""
    if text.isascii():
        return
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for start in range(0, len(text), _SLICE):  # a whole large one would take new memory, which costs more
            decoder.decode(text[start : start + _SLICE])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        raise Ambiguous(_NOT_STRICT) from None


def _unique_members(text: bytes, members: dict[str, msgspec.Raw]) -> Iterator[tuple[str, bytes]]:
    """The members, checked to follow one another in the text: a name that stands there twice leaves a gap."""
    position = 0
    for name, raw in members.items():
        found = _NEXT.match(text, position)
        value = bytes(raw)
        if found is None or not text.startswith(value, found.end()):
            raise Ambiguous("it has a duplicate name")
        position = found.end() + len(value)
        yield name, value
    if members and not _END.fullmatch(text, position):
        raise Ambiguous("it has a duplicate name")
