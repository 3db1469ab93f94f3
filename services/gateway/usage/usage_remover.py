"""Removes from a chat stream what requesting usage has added to it.

That is the usage chunk, and `"usage":null` in all other chunks.
"""

import codecs
import re
from collections.abc import Callable
from itertools import islice

import msgspec

from services.gateway.parsing import lenient_json, sse, sse_lines
from services.gateway.parsing.decompress import Decompressor
from services.gateway.parsing.sse import EventSplitter
from services.gateway.usage.evidence import NO_ERROR

MAX_EVENT = 1 << 20  # bytes of an event that is held back; no usage chunk is as long
_MAX_LINE = 64 << 10  # the same of lines, where blank lines are missing
FREE_EDITS = 1000  # places with usage that are looked at in a stream, whatever its blocks are: some 5 ms
LAST_EDITS = 8  # at a block's end, when these are spent: what was asked for comes last
FREE_NULLS = 20_000  # places with usage that are first tried all at once as closing nulls: some 5 ms
_LARGE = 16 << 10  # bytes of a block
_TAIL = 1 << 10
_MAX_MATCHES = 32
_MAX_DEPTH_WORK = 256 << 10  # bytes of one event that are read to tell how deep a null usage stands
_USAGE = b'"usage"'
# As the last or last but one field of an event it is at the top level: the brace behind it ends the event.
_BEHIND_NULL = re.compile(rb'(?:,"obfuscation":"[^"\\\r\n]*")?\}(?:\n\n|\r\n\r\n)')
_NULL = b',"usage":null'
_CLOSING_NULL = re.compile(rb"%s(?=%s)" % (_NULL, _BEHIND_NULL.pattern))
_USUAL_NULL, _USUAL_END = b',"usage":null}\n\n', b"}\n\n"
_NULL_USAGE = re.compile(
    rb'(?<!\s)\s*+,\s*+"usage"\s*+:\s*+null(?=[\s,}])|(?<!\\)"usage"\s*+:\s*+null\s*+,\s*+|(?<!\\)"usage"\s*+:\s*+null'
)
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_OPENING = re.compile(rb"(?:\xef\xbb\xbf)?[\r\n]*+")  # what may stand before an event's first line
_WHITE_SPACE = b" \t\r\n"
_FIELD = re.compile(rb"(?:event|id|retry)(?::|\r?\n)")


class _Chunk(msgspec.Struct):
    """What tells the added chunk from the others."""

    choices: msgspec.Raw = msgspec.Raw()
    usage: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


_chunk = msgspec.json.Decoder(_Chunk)


class Remover:
    """Passes a stream on without what only the gateway requested.

    Holds back at most one unfinished event, and none of the comments before it. Some servers leave the blank line
    between events out; then each data line that is JSON by itself is taken for an event.
    """

    def __init__(self) -> None:
        self.inflate: Decompressor | None = None  # for a stream that comes compressed although it was not to
        self.failed: Callable[[Exception], object] | None = None  # told of a defect; then the bytes pass as they are
        self._events = EventSplitter()
        self._tail = b""  # the last bytes of an event too long to be held
        self._drop_feed = False  # the removed event ended in CR: an LF that follows belongs to it
        self._left = FREE_EDITS
        self._nulls_left = FREE_NULLS
        self._whole = False  # the unfinished event is known to have its data on several lines
        self._lines: bytes | None = None  # the unfinished lines of a stream without blank lines

    def feed(self, data: bytes) -> bytes:
        """The bytes that may go to the client; b"" when no event is complete."""
        if self.inflate is not None:
            data = self.inflate(data)
        events = self._events
        if self._drop_feed and data:
            self._drop_feed = False
            data = data if events.held else data.removeprefix(b"\n")
        lines = self._lines
        if lines is None and not events.held and not events.spilled and data.endswith(sse.WHOLE):  # the usual case
            if len(data) > _LARGE and data.find(b'"') < 0:  # a search for one byte is ten times as fast
                return data
            if places := data.count(_USAGE):
                if places <= self._nulls_left:
                    self._nulls_left -= places
                    if places == 1:  # a search for bytes is faster than one for a pattern
                        before, null, behind = data.partition(_NULL)
                        if null and _BEHIND_NULL.match(behind):
                            return before + behind
                    data, nulls = _CLOSING_NULL.subn(b"", data)
                    return self._edit(data, places - nulls) if places > nulls else data
                return self._without_usage(data)
            return data
        held = events.held
        size = len(held)
        tail = self._tail
        try:
            return self._feed_part(data) if lines is None else self._feed_lines(data)
        except Exception as error:
            self._give_up(error)
            return tail + bytes(held[:size]) + (lines or b"") + data

    def end(self) -> bytes:
        """What was held back when the stream ended, unless it is to be removed."""
        tail = self._tail
        held = bytes(self._events.held)
        lines = self._lines
        try:
            if lines is not None:
                self._lines = b""
                return tail + self._without_usage(lines, edit=self._edit_lines)
            return tail + self._without_usage(self._events.end())
        except Exception as error:
            self._give_up(error)
            return tail + held + (lines or b"")
        finally:
            self._tail = b""

    def _feed_part(self, data: bytes) -> bytes:
        """The same for bytes that do not begin and end with an event."""
        events = self._events
        passed = b""
        if events.spilled:
            passed, data = self._proceed(data)
        known = len(events.held)
        block = events.feed(data)
        if block and block.find(b'"') >= 0 and _USAGE in block:
            block = self._without_usage(block)
        held = events.held
        if block:
            known, self._whole = 0, False
        if held and not self._whole and sse_lines.has_two_data_lines(held, since=known):
            if sse_lines.begins_with_json(bytes(held)):
                self._lines = b""
                return passed + block + self._feed_lines(events.end())
            self._whole = True
        if len(held) > MAX_EVENT:
            self._tail = events.release_unfinished()
            block += self._without_tail()
        return passed + block if passed else block

    def _feed_lines(self, data: bytes) -> bytes:
        """Pass whole lines on: up to a data line, for what names its event or its id stands before it."""
        data = (self._lines or b"") + data
        cut = sse_lines.last_event_end(data)
        if not cut and len(data) > _MAX_LINE:
            cut = len(data)
        self._lines = data[cut:]
        return self._without_usage(data[:cut], edit=self._edit_lines)

    def _give_up(self, error: Exception) -> None:
        """Pass what follows as it comes: a defect must not reach the client."""
        if self.failed is None:
            raise error
        self.failed(error)
        self._events = EventSplitter()
        self._tail = b""
        self._lines = None
        self.feed = self.inflate or _unchanged  # type: ignore[method-assign, assignment]

    def _proceed(self, data: bytes) -> tuple[bytes, bytes]:
        """Pass an event on that is too long to be held; only a null usage at its very end is still found."""
        piece, data = self._events.proceed(data)
        self._tail = self._tail + piece if self._tail else piece
        if self._events.spilled:
            return self._without_tail(), data
        ending = _CLOSING_NULL.sub(b"", self._tail)
        self._tail = b""
        return ending, data

    def _without_tail(self) -> bytes:
        """Hold back only what may be a null usage that ends the event."""
        data = self._tail
        at = data.find(b",", max(len(data) - _TAIL, 0))
        self._tail = b"" if at < 0 else data[at:]
        return data if at < 0 else data[:at]

    def _without_usage(self, block: bytes, *, edit: Callable[[bytes, int], bytes] | None = None) -> bytes:
        """The block edited, as far as there is work left for it: of very many places only the last ones."""
        if block.rfind(_USAGE) < 0:
            return block
        if block.find(b",") >= 0:  # a search for one byte is twenty times as fast
            block = block.replace(_USUAL_NULL, _USUAL_END)
        is_spent = not self._left and len(block) > _LARGE
        places = _count_up_to(LAST_EDITS + 1, block) if is_spent else block.count(_USAGE)
        if edit is None and places <= max(self._left, LAST_EDITS):
            block, nulls = _CLOSING_NULL.subn(b"", block)
            places -= nulls
            self._left = max(self._left - nulls, 0)
        return self._edit(block, places, edit=edit) if places else block

    def _edit(self, block: bytes, places: int, *, edit: Callable[[bytes, int], bytes] | None = None) -> bytes:
        """The same for a block that is known to have so many places with usage."""
        try:
            most = max(self._left, LAST_EDITS)
            self._left = max(self._left - places, 0)
            start = 0
            if places == 1 or places > most:
                start = len(block)
                for _ in range(min(places, most)):
                    start = block.rfind(_USAGE, 0, start)
            return (edit or self._edit_events)(block, start)
        except Exception as error:
            if self.failed is None:
                raise
            self.failed(error)
            return block

    def _edit_events(self, block: bytes, start: int) -> bytes:
        """The block with each event edited that states usage at `start` or later."""
        kept: list[bytes | memoryview] = []
        view = memoryview(block)  # large copies cost more in page faults than in bytes
        copied = 0
        event = edited = b""
        blank_lines = sse.blank_lines(block)
        at = block.find(_USAGE, start)
        while at >= 0:
            begin, end = sse.event_around(block, at, blank_lines, floor=copied)
            event = block[begin:end]
            edited = _edited(event)
            kept += (view[copied:begin], edited)
            copied = end
            at = block.find(_USAGE, end)
        self._drop_feed = copied == len(block) and event.endswith(b"\r") and not edited.endswith(b"\r")
        return b"".join((*kept, view[copied:]))

    def _edit_lines(self, block: bytes, start: int) -> bytes:
        """The same for lines that are an event each: with a removed one go the fields before it."""
        kept: list[bytes] = []
        copied = 0
        at = block.find(_USAGE, start)
        while at >= 0:
            begin = max(block.rfind(b"\n", copied, at) + 1, copied)
            end = block.find(b"\n", at) + 1 or len(block)
            line = block[begin:end]
            edited = _edited(line)
            if not edited:
                begin = _before_fields(block, begin, floor=copied)
            kept += (block[copied:begin], edited)
            copied = end
            at = block.find(_USAGE, end)
        return b"".join((*kept, block[copied:]))


def _count_up_to(most: int, block: bytes) -> int:
    """How many places with usage there are; of very many only the last are looked for."""
    start = len(block)
    for count in range(most):
        start = block.rfind(_USAGE, 0, start)
        if start < 0:
            return count
    return most


def _unchanged(data: bytes) -> bytes:
    return data


def _before_fields(block: bytes, start: int, *, floor: int) -> int:
    """Where the lines begin that name the event, or its id, whose data line begins at `start`."""
    while start > floor:
        before = max(block.rfind(b"\n", floor, start - 1) + 1, floor)
        if not _FIELD.match(block, before):
            break
        start = before
    return start


def _edited(event: bytes) -> bytes:
    """What the client gets of one event: without a null usage, or only its comments where it is the added chunk."""
    data = sse.data_of(event)
    chunk = None if data is None else lenient_json.decode(data, _chunk)
    if data is None or chunk is None:
        return event
    usage = bytes(chunk.usage)
    if usage == b"null":
        span = _null_usage(data)
        return _cut(event, *span) if span else event
    if not usage.startswith(b"{") or bytes(chunk.error) not in NO_ERROR:
        return event
    if bytes(chunk.choices).translate(None, _WHITE_SPACE) not in (b"", b"null", b"[]"):
        return event
    match = _OPENING.match(event)
    before = match.group() if match else b""
    comments = [line for line in event[len(before) :].splitlines(keepends=True) if line.startswith(b":")]
    return before + b"".join(comments)


def _null_usage(data: bytes) -> tuple[int, int] | None:
    """Where the top-level `"usage":null` stands, with a comma beside it; None when it is not found."""
    work = 0
    for match in islice(_NULL_USAGE.finditer(data), _MAX_MATCHES):
        at = data.index(_USAGE, match.start())
        work += at
        if work > _MAX_DEPTH_WORK:
            return None
        if _depth(data[:at]) == 1:
            return match.span()
    return None


def _depth(text: bytes) -> int:
    """How many objects and arrays are open at the end of the text, braces inside strings not counted."""
    outside = _STRING.sub(b"", text)
    return sum(outside.count(c) for c in (b"{", b"[")) - sum(outside.count(c) for c in (b"}", b"]"))


def _cut(event: bytes, start: int, end: int) -> bytes:
    """The event without the part of its data from `start` to `end`; all of its other lines stay as they are."""
    mark = codecs.BOM_UTF8 if event.startswith(codecs.BOM_UTF8) else b""
    kept = [mark]
    at = 0  # where the value of the line begins in the data
    for line in event.removeprefix(mark).splitlines(keepends=True):
        content = line.rstrip(b"\r\n")
        if not content.startswith(b"data:") and content != b"data":
            kept.append(line)
            continue
        prefix = len(b"data: " if content.startswith(b"data: ") else content[:5])
        stop = at + len(content) - prefix
        if at < start or stop >= end:  # else it is cut as a whole
            low = min(max(start, at), stop)
            high = min(max(end, low), stop)
            kept.append(line[: prefix + low - at] + line[prefix + high - at :])
        at = stop + 1
    return b"".join(kept)
