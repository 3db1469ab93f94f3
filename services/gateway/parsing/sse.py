"""Server-sent events by the WHATWG standard: the only reader and writer.

Lines end with LF, CRLF or CR, also mixed. A blank line ends an event; its data is the value of its `data` fields,
joined by LF. A byte order mark may open the stream. A browser drops an event that lacks its blank line at the end of
the stream; for accounting it counts, and `EventSplitter.end` hands it out.
"""

import codecs
import re
from collections.abc import Iterable

DONE = b"[DONE]"  # the data of the event that ends a stream of chat completions

_MAX_LINES = 4 << 20  # bytes of lines, in events too long to be held, that are searched for the event's end: some 2 ms
_TAIL = 16 << 10  # bytes at the end of a read that are always searched
# Two line ends in a row, of whatever kind, hold one of these, and one line end holds none.
_BLANK_LINES = (b"\n\n", b"\n\r", b"\r\r")
WHOLE = (b"\n\n", b"\r\n\r\n")  # how bytes end that end with an event, in the usual forms
_EVENT_END = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)+")
_EVENT_END_LF = re.compile(rb"\n\n+")  # the same where no line ends in CR: ten times as fast
_MORE_LINE_ENDS = re.compile(rb"[\r\n]+")
_COMMENTS = re.compile(rb"(?::[^\r\n]*+(?>\r\n|\n|\r))*+")
_LINE_ENDS = b"\r\n"
_TO_LINE_FEEDS = bytes(range(256)).replace(b"\r", b"\n")
_FIELDS = (b"data", b"event", b"id", b"retry")
_OPENING = re.compile(rb"(?:%s)?+:|(?:%s)[\r\n]" % (b"|".join(_FIELDS), b"|".join(_FIELDS)))


# Some clients take these for line ends; they can stand in nothing but JSON strings, where an escape means the same.
_SEPARATORS = ((b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"), (b"\xc2\x85", b"\\u0085"))


class EventSplitter:
    """Cuts a stream into whole events, in linear time however it arrives.

    At most one unfinished event is held. The owner limits its size: it takes what is `held` by `release_unfinished`,
    and hands the following bytes to `proceed` until the event has ended.
    """

    __slots__ = ("_bytes_left", "_last", "held", "skipped", "spilled")

    def __init__(self) -> None:
        self.held: bytes | bytearray = b""  # the unfinished event
        self.spilled = False  # within an event whose beginning was taken by `release_unfinished`
        self.skipped = False  # such events had so many lines that the end of one may have gone unseen
        self._bytes_left = _MAX_LINES
        self._last = b""  # the last byte of that event so far

    def feed(self, data: bytes) -> bytes:
        """The events that `data` completes, and comments after them; b"" for none."""
        held = self.held
        if not held and data.endswith(WHOLE):
            return data
        cut = _last_end(data) or _first_line_end(data, held[-1:])
        if not cut:
            known = len(held)
            if isinstance(held, bytes):
                held = self.held = bytearray(held)
            held += data
            return self._comments(known) if held.startswith(b":") else b""
        block = b"".join((held, memoryview(data)[:cut])) if held else data[:cut]
        self.held = rest = data[cut:]
        return block + self._comments(0) if rest.startswith(b":") else block

    def release_unfinished(self) -> bytes:
        """The beginning of the unfinished event, which is not held any longer."""
        beginning = bytes(self.held)
        self.held = b""
        self.spilled = True
        self._last = beginning[-1:]
        return beginning

    def proceed(self, data: bytes) -> tuple[bytes, bytes]:
        """What belongs to the spilled event, and what follows it once it has ended."""
        cut = _first_line_end(data, self._last) or self._next_end(data)
        if cut:
            self.spilled = False
            return data[:cut], data[cut:]
        self._last = data[-1:] or self._last
        return data, b""

    def _next_end(self, data: bytes) -> int:
        """Where the spilled event ends. Once its lines are very many: only if an event ends in the last bytes, too."""
        if b"\n" not in data and b"\r" not in data:  # a search for one byte is ten times faster than for two
            return 0
        if self._bytes_left < 0 and not _first_end(data[-_TAIL:]):
            self.skipped = True
            return 0
        cut = _first_end(data)
        if not cut:
            self._bytes_left -= len(data)
        return cut

    def end(self) -> bytes:
        """The event that the stream left without its blank line; b"" when there is none."""
        rest = bytes(self.held)
        self.held = b""
        return rest

    def _comments(self, known: int) -> bytes:
        """Cut off the comment lines that open the unfinished event; its first `known` bytes hold no line end."""
        held = self.held
        if held.find(b"\n", known) < 0 and held.find(b"\r", known) < 0:
            return b""
        match = _COMMENTS.match(held)
        cut = match.end() if match else 0
        self.held = held[cut:]
        return bytes(held[:cut])


def events(stream: bytes) -> list[bytes]:
    """The stream cut after its blank lines; joined again, the bytes are the same."""
    pattern = _EVENT_END if b"\r" in stream else _EVENT_END_LF
    cuts = [match.end() for match in pattern.finditer(stream)]
    if not cuts or cuts[-1] < len(stream):
        cuts.append(len(stream))
    return [stream[start:end] for start, end in zip([0, *cuts], cuts, strict=False) if start < end]


def blank_lines(block: bytes) -> tuple[bytes, ...]:
    """The pairs of line ends that a block may have."""
    return _BLANK_LINES if b"\r" in block else _BLANK_LINES[:1]


def event_around(block: bytes, at: int, pairs: tuple[bytes, ...], *, floor: int = 0) -> tuple[int, int]:
    """(start, end) of the event around `at`, blank lines included.

    It starts at `floor` or later. `pairs`: the block's `blank_lines`.
    """
    before = -1
    end = len(block)
    for pair in pairs:
        before = max(before, block.rfind(pair, floor, at))
        found = block.find(pair, at, end + 1)
        end = end if found < 0 else found
    match = _MORE_LINE_ENDS.match(block, end)
    return floor if before < 0 else _after_line_end(block, before + 1), match.end() if match else len(block)


def data_of(event: bytes) -> bytes | None:
    """The data of one event; None when it has none."""
    if event.find(b"data") < 0:
        return None
    values = []
    for line in event.removeprefix(codecs.BOM_UTF8).splitlines():
        if line.startswith(b"data:"):
            values.append(line[5:].removeprefix(b" "))
        elif line == b"data":
            values.append(b"")
    return b"\n".join(values) if values else None


def datas(stream: bytes) -> list[bytes]:
    """The data of each event that has some. A last event may lack its blank line."""
    return [data for event in events(stream) if (data := data_of(event)) is not None]


def written(named: Iterable[tuple[str, bytes]], *, end: bytes = b"\n") -> bytes:
    """Write events of (name, JSON), "" for no name.

    Line ends in JSON can only be white space, and are left out.
    """
    parts = []
    for name, data in named:
        if name:
            parts.append(b"event: %s%s" % (name.encode(), end))
        parts.append(b"data: %s%s%s" % (_one_line(data), end, end))
    return b"".join(parts)


def with_line_feeds(block: bytes) -> bytes:
    """The block with LF for every line end; the same object when it has no other."""
    if b"\r" not in block:
        return block
    block = block.replace(b"\r\n", b"\n")
    return block.translate(_TO_LINE_FEEDS) if b"\r" in block else block  # ten times as fast as many replacements


def may_be_event_stream(data: bytes) -> bool:
    """Whether a body begins like an event stream; of very few bytes, whether it may."""
    start = data.removeprefix(codecs.BOM_UTF8).lstrip(_LINE_ENDS)[:6]
    if _OPENING.match(start):
        return True
    return 0 < len(start) < 6 and any(field.startswith(start) for field in _FIELDS)


def _last_end(data: bytes) -> int:
    """Where the last event ends whose blank line is in `data`; 0 when there is none."""
    has_lf = data.find(b"\n") >= 0  # a search for one byte is ten times faster than for two
    at = data.rfind(b"\n\n") if has_lf else -1
    if data.find(b"\r", at + 1) >= 0:
        if has_lf and data.find(b"\n", at + 1) >= 0:
            at = max(at, data.rfind(b"\n\r", at + 1))
        at = max(at, data.rfind(b"\r\r", at + 1))
    return 0 if at < 0 else _after_line_end(data, at + 1)


def _first_end(data: bytes) -> int:
    """Where the first event ends whose blank line is in `data`; 0 when there is none."""
    at = len(data)
    for pair in blank_lines(data):
        if data.rfind(pair, 0, at + 1) >= 0:  # mostly there is none, and a search from the end is ten times as fast
            at = data.find(pair, 0, at + 1)
    return 0 if at == len(data) else _after_line_end(data, at + 1)


def _first_line_end(data: bytes, before: bytes | bytearray) -> int:
    """Where a line end at the start of `data` ends that is a blank line behind the byte `before`, b"" for none."""
    first = data[:1]
    if first and first in _LINE_ENDS and (not before or before + first in _BLANK_LINES):
        return _after_line_end(data, 0)
    return 0


def _after_line_end(data: bytes, at: int) -> int:
    """The position behind the line end at `at`."""
    return at + 2 if data[at : at + 2] == b"\r\n" else at + 1


def _one_line(data: bytes) -> bytes:
    if b"\n" in data or b"\r" in data:
        data = data.replace(b"\r", b"").replace(b"\n", b"")
    for separator, escape in _SEPARATORS:
        if separator in data:
            data = data.replace(separator, escape)
    return data
