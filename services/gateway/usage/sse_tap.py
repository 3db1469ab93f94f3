"""Evidence of an event stream: only events that affect the cost are read."""

import codecs
import re

from services.gateway.dialects import DIALECTS
from services.gateway.parsing import sse, sse_lines
from services.gateway.parsing.decompress import CORRUPT, Decompressor
from services.gateway.parsing.sse import EventSplitter
from services.gateway.usage.evidence import Picked, collect, pick, pick_clipped
from services.gateway.usage.finish_reasons import MAX_BLOCK as _MAX_RECENT
from services.gateway.usage.finish_reasons import MIN_BLOCK as _MIN_RECENT
from services.gateway.usage.finish_reasons import FinishReasons
from services.gateway.usage.gap import Gap, unread_reason
from services.gateway.usage.json_tap import JsonTap
from services.gateway.usage.long_event import DATA, MAX_EVENT, LongEvent
from services.gateway.usage.marked_events import MAX_BLOCK, MAX_USAGE, MarkedEvents, Span, event_around
from shared.events import GAP_TOOLS, GAP_USAGE, GAPS_ALL, UNREAD_TOO_LARGE, UNREAD_TOO_MANY

MAX_COPY = 64 << 10  # bytes of a stream, decompressed, that are kept in case its usage has to be estimated
_MAX_EARLY = 4 << 10  # bytes of an event whose end is seen at its data's line end already
_CLIP = 16 << 10
_MAX_ERROR_EVENTS = 4
_MAX_COUNTED = 16 << 10  # bytes of a block that is searched for marks before it is read
_MAX_LONG_LINES = 50_000  # lines of all events too long to be kept: some 5 ms
_MAX_SPACE = 1 << 10  # bytes of a block in which a JSON document may begin
_MAX_UNREADABLE = 64  # events without JSON that are tried for being the first one
_USAGE = b'"usage"'
_PLAIN_NULL = b'"usage":null'
_LINE_ENDS = b"\r\n"
_ERROR = b"error"
_ERROR_EVENT = re.compile(rb"(?:\A|\n)event: ?error(?:\n|\Z)")
_NO_CHOICES = re.compile(rb'"choices"\s*:\s*(?:\[\s*\]|null)')


class SseTap:
    """Picks the first event, those with an error, the first and last with usage.

    `framed`: HTTP says where the response ends, so a clean end is the provider's own and no cut connection.
    """

    __slots__ = (
        "_candidates",
        "_closing",
        "_copy",
        "_dialect",
        "_document",
        "_errors",
        "_events",
        "_first",
        "_framed",
        "_in_parts",
        "_inflate",
        "_interim",
        "_limit",
        "_lines",
        "_lines_held",
        "_lines_left",
        "_long",
        "_marked",
        "_marks",
        "_missing",
        "_null_usage",
        "_opening",
        "_reasons",
        "_recent",
        "_refused",
        "_responding",
        "_room",
        "_tools",
        "_truncated",
        "_unreadable",
        "_whole_event",
        "ended",
        "failed",
        "gap",
    )

    def __init__(self, dialect: str, inflate: Decompressor | None, *, copy: int = 0, framed: bool = False) -> None:
        self.ended = False
        self.failed = False
        self.gap: Gap | None = None
        self._dialect = record = DIALECTS[dialect]
        self._inflate = inflate
        self._framed = framed
        self._marked = MarkedEvents(record)
        self._marks = self._marked.marks
        self._null_usage = self._marked.null_usage
        self._copy: list[bytes] = []
        self._limit = copy
        self._room = copy
        self._events = EventSplitter()
        self._long: LongEvent | None = None
        self._lines_left = _MAX_LONG_LINES
        self._document: JsonTap | None = None  # where it is no stream
        self._whole_event = False  # the unfinished event is known to have its data on several lines
        self._lines: list[bytes] | None = None  # the unfinished line of a stream without blank lines
        self._lines_held = 0
        self._in_parts = False  # within a long event, or a stream without blank lines
        self._responding = False  # Gemini's: a candidate has begun; more may come after what finishes it
        self._refused = False  # Gemini's: the prompt was blocked
        self._candidates: dict[int, bool] = {}  # Gemini's: index → whether it is finished
        self._interim = False  # choices came with the last usage
        self._reasons = FinishReasons(in_other_events=record.finish_reason_before_usage)
        self._recent = self._reasons.recent
        self._first: Picked | None = None
        self._unreadable = 0  # events before the first one that is JSON
        self._opening: Picked | None = None
        self._closing: Picked | None = None
        self._errors: list[Picked] = []
        self._tools: dict[str, int] = {}
        self._truncated = False
        self._missing: tuple[str, ...] = ()  # of what bears on money, though the event was read

    def feed(self, data: bytes) -> None:
        """Read bytes of the response as they pass."""
        if self._inflate:
            try:
                data = self._inflate(data)
            except CORRUPT as error:
                self._inflate = _nothing
                self._truncated = True
                self.gap = Gap(GAPS_ALL, unread_reason(error))
        if (room := self._room) > 0:  # by reference: nothing is copied unless it is needed
            self._copy.append(data if len(data) <= room else data[:room])
        self._room = room - len(data)
        if self._in_parts or self._events.held or not data.endswith(sse.WHOLE):
            self._feed_part(data)
        else:
            self._scan(data)

    def _feed_part(self, data: bytes) -> None:
        """Read bytes that do not begin and end with an event."""
        events = self._events
        if self._first is None and self._is_document(data):
            return
        if self._long is not None:
            data = self._proceed(self._long, data)
        elif self._lines is not None:
            self._feed_lines(data)
            return
        known = len(events.held)
        if block := events.feed(data):
            self._scan(block)
            known = 0
            self._whole_event = False
        held = events.held
        if held and not self._whole_event and sse_lines.has_two_data_lines(held, since=known):
            if sse_lines.begins_with_json(bytes(held)):
                self._begin_lines(events.end())
                return
            self._whole_event = True
        if len(held) > MAX_EVENT:
            self._long = LongEvent(events.release_unfinished(), lines=self._lines_left)
            self._in_parts = True
        elif held and held[-1] in _LINE_ENDS and len(held) <= _MAX_EARLY and not self.ended:
            self.ended = self._ends_early(bytes(held))

    def _begin_lines(self, held: bytes) -> None:
        """Read a stream without blank lines: from here on each data line is an event."""
        self._lines = []
        self._in_parts = True
        self._feed_lines(held)

    def _feed_lines(self, data: bytes) -> None:
        """Read the whole lines; of one that grows too long nothing is read, which the evidence says."""
        lines = self._lines = self._lines or []
        if b"\n" in data:
            data = sse.with_line_feeds(b"".join((*lines, data)))
            lines.clear()
            self._lines_held = 0
            cut = sse_lines.last_event_end(data)
            self._scan(sse_lines.with_blank_lines(data[:cut]))
            data = data[cut:]
        if self._lines_held + len(data) <= MAX_EVENT:
            lines.append(data)
            self._lines_held += len(data)
        elif self.gap is None:
            self._truncated = True
            self.gap = Gap(GAPS_ALL, UNREAD_TOO_LARGE)

    def _is_document(self, data: bytes) -> bool:
        """Whether a body called an event stream is JSON: no event begins with a brace."""
        if self._document is None:
            begun = self._long is not None or self._events.held
            if begun or data[:_MAX_SPACE].removeprefix(codecs.BOM_UTF8).lstrip()[:1] not in (b"{", b"["):
                return False
            self._document = JsonTap(None)
        self._document.feed(data)
        return True

    @property
    def usage(self) -> bool:
        """Whether an event with usage went by."""
        return self._closing is not None

    @property
    def interim(self) -> bool:
        """Whether the last usage was stated before the response was over.

        Some servers state usage in every chunk.
        """
        return self._interim and not self.ended and not self._reasons.before_usage()

    @property
    def cut_short(self) -> bool:
        """Whether a stream ended before its dialect's end. Ask after `evidence`."""
        if self._document is not None:
            return False
        if self._responding and not self._refused and not (self._candidates and all(self._candidates.values())):
            return True
        if self.ended or not self._dialect.has_end:
            return False
        return not (self._framed and self.usage and self._dialect.may_omit_end and self._reasons.at_end())

    def evidence(self) -> tuple[tuple[bytes, ...], dict[str, int], bool]:
        """(Picks in order, tool calls by name, whether something is missing)."""
        if (document := self._document) is not None:
            evidence = document.evidence()
            self.gap = self.gap or document.gap
            self.failed = document.failed
            return evidence[0], evidence[1], evidence[2] or self._truncated
        if self._long is not None:
            self._end_long(self._long)
        if self._lines:  # a last line without its line feed
            self._feed_lines(b"\n")
            self._lines = []
        if rest := self._events.end():  # a last event without its blank line
            self._scan(rest)
        ordered: list[Picked | None] = []
        for one in (self._first, self._opening, *self._errors, self._closing):
            if not any(one is other for other in ordered):
                ordered.append(one)
        picks, _, truncated = collect(ordered, truncated=self._truncated or bool(self._missing))
        if self.gap is None and self._missing:
            missing = GAPS_ALL if self._truncated else tuple(dict.fromkeys(self._missing))
            self.gap = Gap(missing, UNREAD_TOO_MANY)
        return picks, self._tools, truncated

    def events(self) -> tuple[list[bytes], float] | None:
        """(Data of the events kept, how many times as much there was).

        None for bytes that are no event stream.
        """
        if self._document is not None:
            return self._document.events()
        copy = b"".join(self._copy)
        passed = self._limit - self._room
        times = max(passed / len(copy), 1.0) if copy else 1.0
        is_whole = len(copy) == passed  # else it is cut in the middle of an event
        if self._lines is not None:
            copy = sse_lines.with_blank_lines(sse.with_line_feeds(copy))
        found = sse.datas(copy if is_whole else EventSplitter().feed(copy))
        if not found and copy.strip(_LINE_ENDS) and not sse.may_be_event_stream(copy):
            return None
        return found, times

    def text(self, limit: int) -> bytes:
        """Nothing, because a stream is not an error text."""
        return b""

    def _scan(self, block: bytes) -> None:
        """Read the events of a block that matter. Most blocks hold none, and cost a search for each mark."""
        if (recent := self._recent) is not None and (size := len(block)) > _MIN_RECENT:
            recent.append(block if size <= _MAX_RECENT else block[-_MAX_RECENT:])
        if self._first is not None:
            if len(block) <= _MAX_COUNTED:  # a longer one is searched for each mark once, where the events are told
                for mark in self._marks:
                    if block.rfind(mark) >= 0:  # from its end a block is searched twice as fast
                        break
                else:
                    if not self._null_usage or not (usages := block.count(_USAGE)):
                        return
                    if usages == block.count(_PLAIN_NULL):
                        return
        elif self._is_document(block) or block.find(b":") < 0 or block.find(DATA) < 0:  # `in` costs more
            return
        self._read(sse.with_line_feeds(block))

    def _read(self, block: bytes) -> None:
        """Read the events of a block that matter; its line ends are LF."""
        if self._first is None:
            block = self._read_first(block)
        if block.find(b"\n\n") == len(block) - 2:  # one event: the usual
            self._event(block)
            return
        if len(block) > MAX_BLOCK:  # a burst, or a bomb: what is compressed like that says nothing new with each event
            block = block[:_CLIP] + b"\n\n" + block[-MAX_EVENT:]
            self._missing = (*self._missing, GAP_TOOLS)
        self._read_marked(block)

    def _read_marked(self, block: bytes) -> None:
        """Read those of very many events that are worth it."""
        marked = self._marked
        picked: dict[Span, tuple[Picked | None, bytes]] = {}
        stated = False
        has_more = True
        for span in marked.last_usages(block):
            picked[span] = one = self._picked(block[slice(*span)])
            stated = stated or (one[0] is not None and one[0].usage)
            if stated and marked.enough(len(picked)):
                break
        else:
            has_more = len(picked) >= MAX_USAGE
        spans = marked.find(block) | picked.keys()
        if has_more and self._opening is None:
            spans.add(marked.first_usage(block))
        for span in sorted(spans):
            self._take(*(picked.get(span) or self._picked(block[slice(*span)])))
        if not stated and len(picked) >= MAX_USAGE:
            self._missing = (*self._missing, GAP_USAGE)
        mark = self._dialect.response_mark
        if mark is not None and not self._responding:
            self._responding = mark.search(block) is not None
        if marked.skipped and GAP_TOOLS not in self._missing:
            self._missing = (*self._missing, GAP_TOOLS)

    def _read_first(self, block: bytes) -> bytes:
        """Read events until one is JSON, and return what follows it."""
        if DATA not in block:
            return b""
        end = 0
        while self._first is None and (at := _next_json(block, end)) >= 0:
            start, end = event_around(block, at, floor=end)
            self._event(block[start:end])
            self._unreadable += 1
            if self._first is None and self._unreadable >= _MAX_UNREADABLE:
                self._first = _NOTHING
        return b"" if self._first is None else block[end:]

    def _event(self, event: bytes) -> None:
        self._take(*self._picked(event))

    def _picked(self, event: bytes) -> tuple[Picked | None, bytes]:
        """(What an event says about money, its data)."""
        line = event.rstrip(b"\n")
        plain = line.startswith(DATA) and b"\n" not in line
        data = line[len(DATA) :] if plain else sse.data_of(event)
        if data is None:
            return None, b""
        if data.rfind(sse.DONE) >= 0 and data.strip() == sse.DONE:
            self.ended = True
            return None, data
        failed = not plain and _ERROR in event and _ERROR_EVENT.search(event) is not None
        return pick(data, failed=failed), data

    def _take(self, picked: Picked | None, data: bytes) -> None:
        if picked is None:
            return
        if picked.type in self._dialect.terminal_types:
            self.ended = True
        if picked.candidates:
            self._responding = True
            for index, finished in picked.candidates:
                self._candidates[index] = finished or self._candidates.get(index, False)
        self._refused |= picked.refused
        if self._first is None:
            self._first = picked
        if picked.missing:
            self._missing += picked.missing
        for name, count in picked.tools.items():  # also of events that are not picked
            self._tools[name] = max(count, self._tools.get(name, 0))
        if picked.error:
            self.failed = True
            if len(self._errors) < _MAX_ERROR_EVENTS:
                self._errors.append(picked)
        if picked.usage:
            if self._dialect.may_omit_end:
                self._reasons.keep(data)
                self._interim = _NO_CHOICES.search(data) is None
            if self._opening is None:
                self._opening = picked
            self._closing = picked

    def _ends_early(self, event: bytes) -> bool:
        """Whether an event without its blank line yet is the stream's last: some clients leave at its line end."""
        if not any(mark in event for mark in self._marks):
            return False
        data = sse.data_of(event)
        if data is None or b"\n" in data:
            return False
        if data.strip() == sse.DONE:
            return True
        picked = pick(data)
        return picked is not None and picked.type in self._dialect.terminal_types

    def _proceed(self, long: LongEvent, data: bytes) -> bytes:
        """Go on with an event of which only the skeleton is kept; at its end, what follows it."""
        piece, data = self._events.proceed(data)
        long.feed(piece)
        if not self._events.spilled:
            self._end_long(long)
        return data

    def _end_long(self, long: LongEvent) -> None:
        self._long = None
        self._in_parts = False
        self._lines_left = long.lines
        data, full = long.data()
        self._truncated |= full
        picked = pick(data)
        if picked is None and full:
            picked = pick_clipped(data[:_CLIP], data[-_CLIP:])
        if (picked is None and full) or self._events.skipped:
            self._missing += GAPS_ALL
        self._take(picked, data)


_NOTHING = Picked(b"", False, False, "")  # of a stream whose first events are no JSON


def _next_json(block: bytes, start: int) -> int:
    """Where the next event with data that may be a JSON object or an end mark holds it; -1 when none does."""
    first = block.find(b"{", start)
    for mark in (sse.DONE, _ERROR):
        at = block.find(mark, start, len(block) if first < 0 else first)
        first = first if at < 0 else at
    return first


def _nothing(_: bytes) -> bytes:
    return b""
