"""Removal of what asking for usage adds to a chat stream: the usage chunk, and `"usage":null` in all the others."""

import codecs
import re
from collections.abc import Callable
from itertools import islice

import msgspec

from services.gateway import lenient_json, sse
from services.gateway.inflate import Inflate
from services.gateway.sse import EventSplitter

MAX_EVENT = 1 << 20  # bytes of an event that is held back; no usage chunk is as long
_TAIL = 1 << 10
_MAX_MATCHES = 32
_USAGE = b'"usage"'
# As the last or last but one field of an event it is at the top level: the brace behind it ends the event.
_CLOSING_NULL = re.compile(rb',"usage":null(?=(?:,"obfuscation":"[^"\\\r\n]*")?\}(?:\n\n|\r\n\r\n))')
_NULL_USAGE = re.compile(
    rb'(?<!\s)\s*+,\s*+"usage"\s*+:\s*+null(?=[\s,}])|(?<!\\)"usage"\s*+:\s*+null\s*+,\s*+|(?<!\\)"usage"\s*+:\s*+null'
)
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_OPENING = re.compile(rb"(?:\xef\xbb\xbf)?[\r\n]*+")  # what may stand before an event's first line
_WHITE_SPACE = b" \t\r\n"


class _Chunk(msgspec.Struct):
    """What tells the added chunk from the others."""

    choices: msgspec.Raw = msgspec.Raw()
    usage: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


_chunk = msgspec.json.Decoder(_Chunk)


class Remover:
    """Passes a stream on byte for byte, without what was only asked for by the gateway.

    Holds back at most one unfinished event, and none of the comments before it.
    """

    def __init__(self) -> None:
        self.inflate: Inflate | None = None  # for a stream that comes compressed although it was not to
        self.failed: Callable[[Exception], object] | None = None  # told of a defect; then the bytes pass as they are
        self._events = EventSplitter()
        self._tail = b""  # the last bytes of an event too long to be held
        self._drop_feed = False  # the removed event ended in CR: an LF that follows belongs to it

    def feed(self, data: bytes) -> bytes:
        """What the client may have of `data` and of what was held back; b"" when no event is complete."""
        if self.inflate is not None:
            data = self.inflate(data)
        events = self._events
        if self._drop_feed and data:
            self._drop_feed = False
            data = data if events.held else data.removeprefix(b"\n")
        if not events.held and not events.spilled and data.endswith(sse.WHOLE):  # whole events: the usual case
            return self._without_usage(data) if _USAGE in data else data
        passed = b""
        if events.spilled:
            passed, data = self._proceed(data)
        block = events.feed(data)
        if block and _USAGE in block:
            block = self._without_usage(block)
        if len(events.held) > MAX_EVENT:
            self._tail = events.spill()
            block += self._but_tail()
        return passed + block if passed else block

    def end(self) -> bytes:
        """What was held back when the stream ended, unless it is to be removed."""
        tail = self._tail
        self._tail = b""
        return tail + self._without_usage(self._events.end())

    def _proceed(self, data: bytes) -> tuple[bytes, bytes]:
        """Pass an event on that is too long to be held; only a null usage at its very end is still found."""
        piece, data = self._events.proceed(data)
        self._tail += piece
        if self._events.spilled:
            return self._but_tail(), data
        ending = _CLOSING_NULL.sub(b"", self._tail)
        self._tail = b""
        return ending, data

    def _but_tail(self) -> bytes:
        passed = self._tail[:-_TAIL]
        self._tail = self._tail[-_TAIL:]
        return passed

    def _without_usage(self, block: bytes) -> bytes:
        try:
            block = _CLOSING_NULL.sub(b"", block)
            return self._edited(block) if _USAGE in block else block
        except Exception as error:
            if self.failed is None:
                raise
            self.failed(error)
            return block

    def _edited(self, block: bytes) -> bytes:
        start = 0  # of the first event that may change: those before it pass as they are
        if b"\r" not in block:
            start = block.rfind(b"\n\n", 0, block.find(_USAGE)) + 2
            start = start if start > 1 else 0
        kept = [(event, _edited(event) if _USAGE in event else event) for event in sse.events(block[start:])]
        event, last = kept[-1]
        self._drop_feed = event.endswith(b"\r") and not last.endswith(b"\r")
        return block[:start] + b"".join([edited for _, edited in kept])


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
    if not usage.startswith(b"{") or bytes(chunk.error) not in (b"", b"null"):
        return event
    if bytes(chunk.choices).translate(None, _WHITE_SPACE) not in (b"", b"null", b"[]"):
        return event
    match = _OPENING.match(event)
    before = match.group() if match else b""
    comments = [line for line in event[len(before) :].splitlines(keepends=True) if line.startswith(b":")]
    return before + b"".join(comments)


def _null_usage(data: bytes) -> tuple[int, int] | None:
    """Where the top-level `"usage":null` stands, with a comma beside it; None when it is not found."""
    for match in islice(_NULL_USAGE.finditer(data), _MAX_MATCHES):
        if _depth(data[: data.index(_USAGE, match.start())]) == 1:
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
