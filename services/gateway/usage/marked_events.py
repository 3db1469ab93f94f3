"""Selects the events to read: those that affect the cost, within a budget.

Usage counts are cumulative, so of many events with usage the first and the last ones of a block suffice. Events that
say more than usage are read one by one until the budget is spent; then the last one of a block is. What is looked for
is found by searches for bytes, whose cost is close to that of copying the block.
"""

import re

from services.gateway.dialects import Dialect
from services.gateway.parsing import sse

MAX_BLOCK = 4 << 20  # bytes of events that are searched at once
MAX_MARKED = 64  # events of a block that are read for one mark
FREE_TELLING = 1024  # events of a stream that are read for marks other than usage
LAST_USAGE = 8  # events with usage that are read at a block's end
MAX_USAGE = 64  # the same where none of the last ones states any
_MAX_NULLS = 64  # events without usage that are passed over one by one

_USAGE = b'"usage"'
_STATED_USAGE = re.compile(rb'"usage"(?!\s*:\s*null)')
_LAST_STATED_USAGE = re.compile(rb'.*("usage"(?!\s*:\s*null))', re.DOTALL)
_NULL = b'"usage":null'
Span = tuple[int, int]  # where an event stands in its block


class MarkedEvents:
    """Finds a dialect's events that are worth reading.

    `skipped`: some that say more than usage were passed over.
    """

    __slots__ = ("_left", "_searched", "_stated", "_usage", "marks", "null_usage", "skipped")

    def __init__(self, dialect: Dialect) -> None:
        self.marks = (*dialect.usage_marks, *dialect.event_marks)
        self.null_usage = dialect.null_usage
        self.skipped = False
        self._usage = dialect.usage_marks
        self._searched = (*dialect.event_marks, *dialect.marks_beside_usage)
        self._left = FREE_TELLING
        self._stated = 0  # at most so many usages of the block that are not null, where null is usual

    def first_usage(self, block: bytes) -> Span | None:
        """The first event that may state usage; None also if it is the only one.

        To be asked after `find`.
        """
        places = [block.find(mark) for mark in self._usage]
        if self._stated > 1 and (match := _STATED_USAGE.search(block)):
            places.append(match.start())
        starts = [at for at in places if at >= 0]
        return event_around(block, min(starts)) if starts else None

    def find(self, block: bytes) -> list[Span]:
        """The events to read: those that say more than usage, and the last with usage."""
        spans: set[Span] = set()
        for mark in self._searched:
            self._add_marked(spans, block, mark)
        for mark in self._usage:
            spans.update(_last_events(block, mark, LAST_USAGE))
        if self.null_usage:
            self._stated = _most_stated(block)
            spans.update(_last_stated(block, min(self._stated, LAST_USAGE)))
        return sorted(spans)

    def find_more(self, block: bytes) -> list[Span]:
        """More of the last events with usage, where those of `find` state none."""
        spans = [span for mark in self._usage for span in _last_events(block, mark, MAX_USAGE)]
        if self.null_usage:
            spans += _last_stated(block, min(self._stated, MAX_USAGE))
        return sorted(set(spans))

    def _add_marked(self, spans: set[Span], block: bytes, mark: bytes) -> None:
        last = block.rfind(mark)  # from its end a block is searched twice as fast
        if last < 0:
            return
        span = event_around(block, last)
        if self._left and block.rfind(mark, 0, span[0]) < 0:  # the only one
            spans.add(span)
            self._left -= 1
            return
        end = 0
        for _ in range(min(MAX_MARKED, self._left)):
            at = block.find(mark, end)
            if at < 0:
                return
            span = event_around(block, at, floor=end)
            spans.add(span)
            end = span[1]
            self._left -= 1
        at = block.rfind(mark, end)
        if at >= 0:
            spans.add(event_around(block, at, floor=end))
            self.skipped |= mark != sse.DONE


def _last_events(block: bytes, mark: bytes, most: int) -> list[Span]:
    spans: list[Span] = []
    start = len(block)
    while len(spans) < most and (at := block.rfind(mark, 0, start)) >= 0:
        spans.append(event_around(block, at))
        start = spans[-1][0]
    return spans


def _most_stated(block: bytes) -> int:
    """An upper bound on the number of usages that are not null. Counting is much faster than passing nulls over."""
    return block.count(_USAGE) - block.count(_NULL)


def _last_stated(block: bytes, most: int) -> list[Span]:
    """The last events in which usage is something else than null."""
    spans: list[Span] = []
    nulls = 0
    start = len(block)
    while len(spans) < most and (at := block.rfind(_USAGE, 0, start)) >= 0:
        if not _STATED_USAGE.match(block, at):
            nulls += 1
            start = at
            if nulls <= _MAX_NULLS:
                continue
            match = _LAST_STATED_USAGE.match(block, 0, start)
            if match is None:
                break
            at = match.start(1)
        spans.append(event_around(block, at))
        start = spans[-1][0]
    return spans


def event_around(block: bytes, at: int, *, floor: int = 0) -> Span:
    """The event around `at`, which begins at `floor` or later."""
    start = block.rfind(b"\n\n", floor, at)
    end = block.find(b"\n\n", at)
    return floor if start < 0 else start + 2, len(block) if end < 0 else end + 2
