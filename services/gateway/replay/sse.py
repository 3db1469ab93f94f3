"""Server-sent events: a stream cut into its events and their data, and data written as events."""

import re
from collections.abc import Iterable

DONE = b"[DONE]"

# A line ends with CRLF, LF or CR; possessive, so that the CRLF of one line is never taken for the ends of two.
_BLANK_LINE = re.compile(rb"(?>\r\n|\n|\r){2,}+")
# Some clients take these for line ends; they can stand in nothing but JSON strings, where an escape means the same.
_SEPARATORS = ((b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"), (b"\xc2\x85", b"\\u0085"))


def events(stream: bytes) -> list[bytes]:
    """The stream cut behind each blank line; joined they are the same bytes again, whatever these are."""
    cuts = [found.end() for found in _BLANK_LINE.finditer(stream)]
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    return [piece for piece in pieces if piece]


def datas(stream: bytes) -> list[bytes]:
    """The data of each event that has some; comments, names and ids left out. A last event may lack its blank line."""
    found = []
    for event in events(stream):
        lines = [line[5:].removeprefix(b" ") for line in event.splitlines() if line.startswith(b"data:")]
        if lines:
            found.append(b"\n".join(lines))
    return found


def written(named: Iterable[tuple[str, bytes]], *, end: bytes = b"\n") -> bytes:
    """Events of (name, JSON), "" for none. Line ends in the JSON can only be white space, and are left out."""
    parts = []
    for name, data in named:
        if name:
            parts.append(b"event: %s%s" % (name.encode(), end))
        parts.append(b"data: %s%s%s" % (_one_line(data), end, end))
    return b"".join(parts)


def _one_line(data: bytes) -> bytes:
    if b"\n" in data or b"\r" in data:
        data = data.replace(b"\r", b"").replace(b"\n", b"")
    for separator, escape in _SEPARATORS:
        if separator in data:
            data = data.replace(separator, escape)
    return data
