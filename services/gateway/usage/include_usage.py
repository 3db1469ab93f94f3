"""Request for usage on the client's behalf, spliced into an OpenAI-style body."""

import re

import msgspec

from services.gateway.parsing import lenient_json

_OPTION = b'"include_usage":true'
_KEY = b'"stream_options"'
_COLON = re.compile(rb"\s*+:\s*+")
_EMPTY = re.compile(rb"\s*+\}")
_MAX_OPTIONS = 64 << 10  # bytes of stream_options that are read
_MAX_PLACES = 16  # at which the key's text stands
_MAX_CHECKED = 8 << 20  # bytes that are decoded to tell the key from its like further inside


class _Body(msgspec.Struct):
    stream_options: msgspec.Raw = msgspec.Raw()


_body = msgspec.json.Decoder(_Body)
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


Pieces = tuple[bytes | memoryview, ...]  # of a body, which is not copied for a few bytes more


def requested(body: bytes, options: bytes) -> Pieces | None:
    """The body with include_usage set, in pieces; None when it stays as it is.

    That is when the client set it, or it can't be read. `options`: the body's stream_options as raw JSON, b"" for none.
    """
    if not options:
        start = body.find(b"{") + 1
        if not start:
            return None
        comma = b"" if _EMPTY.match(body, start) else b","
        return _spliced(body, start, b"%s:{%s}%s" % (_KEY, _OPTION, comma), start)
    wanted = _with_usage(options)
    if wanted is None:
        return None
    starts = _value_starts(body)
    checked = len(body) * len(starts) <= _MAX_CHECKED
    if not checked and len(starts) != 1:
        return None
    for start in reversed(starts):  # of a name that stands twice, most readers take the last
        if body.startswith(options, start):
            changed = _spliced(body, start, wanted, start + len(options))
            if not checked or _options_of(b"".join(changed)) == wanted:
                return changed
    return None


def _spliced(body: bytes, start: int, text: bytes, end: int) -> Pieces:
    """The body with `text` in place of the bytes from `start` to `end`."""
    view = memoryview(body)
    return view[:start], text, view[end:]


def _with_usage(options: bytes) -> bytes | None:
    """The options with include_usage set; None if they have it already or are not an object."""
    if options == b"null":
        return b"{%s}" % _OPTION
    parsed = lenient_json.decode(options, _fields) if len(options) <= _MAX_OPTIONS else None
    if parsed is None:
        return None
    include_usage = parsed.get("include_usage")
    if include_usage is None:
        return b"{%s%s%s" % (_OPTION, b"," if parsed else b"", options[1:])
    if bytes(include_usage) not in (b"false", b"null"):
        return None
    return msgspec.json.encode(parsed | {"include_usage": msgspec.Raw(b"true")})


def _value_starts(body: bytes) -> list[int]:
    """Where the values of all keys of that name start, nested ones too; [] where there are too many."""
    starts: list[int] = []
    at = body.find(_KEY)
    for _ in range(_MAX_PLACES):
        if at < 0:
            return starts
        match = _COLON.match(body, at + len(_KEY))
        if match and body[at - 1 : at] != b"\\":
            starts.append(match.end())
        at = body.find(_KEY, at + len(_KEY))
    return []


def _options_of(body: bytes) -> bytes:
    parsed = lenient_json.decode(body, _body)
    return bytes(parsed.stream_options) if parsed else b""
