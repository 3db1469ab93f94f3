"""Event streams without blank lines, where each data line is an event."""

import re

import msgspec

_NEXT_DATA = b"\ndata:"
_FIRST_DATA = re.compile(rb"(?:\A|(?<=\n))data:([^\r\n]*)\r?\n")
_DATA_LINE = re.compile(rb"^data:[^\n]*+\n(?!\n)", re.MULTILINE)
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


def has_two_data_lines(held: bytes | bytearray, *, since: int) -> bool:
    """Whether a second data line of an unfinished event begins at `since` or later."""
    at = held.rfind(_NEXT_DATA, max(since - len(_NEXT_DATA), 0))
    return at >= 0 and (held.startswith(b"data:") or held.find(_NEXT_DATA, 0, at) >= 0)


def begins_with_json(held: bytes) -> bool:
    """Whether the first data line is a JSON object by itself.

    If so, the next data line is another event.
    """
    match = _FIRST_DATA.search(held)
    try:
        return match is not None and _object.decode(match.group(1)) is not None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False


def with_blank_lines(lines: bytes) -> bytes:
    """Whole lines that end in LF, with a blank line after each data line."""
    return _DATA_LINE.sub(rb"\g<0>\n", lines)


def last_event_end(lines: bytes) -> int:
    """Where the last whole data line ends.

    Fields behind it belong to the next event.
    """
    end = lines.rfind(b"\n")
    at = lines.rfind(_NEXT_DATA, 0, max(end, 0)) + 1
    if not at and not lines.startswith(b"data:"):
        return 0
    return lines.find(b"\n", at) + 1
