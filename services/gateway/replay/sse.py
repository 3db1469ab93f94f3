"""Server-sent events: a stream cut into its events and their data, and data written as events."""

from collections.abc import Iterable

DONE = b"[DONE]"

_BLANK = (b"\n", b"\r\n", b"\r")

# Some clients take these for line ends; they can stand in nothing but JSON strings, where an escape means the same.
_SEPARATORS = ((b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"), (b"\xc2\x85", b"\\u0085"))


def events(stream: bytes) -> list[bytes]:
    """The stream cut behind each blank line; joined they are the same bytes again, whatever these are."""
    found: list[bytes] = []
    lines: list[bytes] = []
    for line in stream.splitlines(keepends=True):
        if lines and lines[-1] in _BLANK and line not in _BLANK:
            found.append(b"".join(lines))
            lines = []
        lines.append(line)
    return [*found, b"".join(lines)] if lines else found


def datas(stream: bytes) -> list[bytes]:
    """The data of each event that has some; comments, names and ids left out. A last event may lack its blank line."""
    found: list[bytes] = []
    lines: list[bytes] = []
    for line in stream.splitlines():
        if line.startswith(b"data:"):
            lines.append(line[5:].removeprefix(b" "))
        elif not line and lines:
            found.append(b"\n".join(lines))
            lines = []
    return [*found, b"\n".join(lines)] if lines else found


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
