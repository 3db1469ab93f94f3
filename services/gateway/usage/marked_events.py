"""Selects the events to read: those that affect the cost, within a budget.

Usage counts are cumulative, so of many events with usage the first and the last ones of a block suffice: they are read
from its end. Events that say more than usage are read one by one until the budget is spent; then the last one of a
block is. What is looked for is found by searches for bytes, whose cost is close to that of copying the block.
"""

import re
from collections.abc import Iterator
from heapq import merge
from itertools import groupby, islice

from services.gateway.dialects import Dialect
from services.gateway.parsing import sse

MAX_BLOCK = 4 << 20  # bytes of events that are searched at once
MAX_MARKED = 64  # events of a block that are read for one mark
FREE_TELLING = 1024  # events of a stream that are read for marks other than usage
LAST_USAGE = 8  # events with usage that are read at a block's end
FREE_USAGE = 256  # events of a stream that are read so; then only the last one of a block is
MAX_USAGE = 64  # events that are read at a block's end where none states usage
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

    __slots__ = ("_left", "_searched", "_usage", "_usage_left", "marks", "null_usage", "skipped")

    def __init__(self, dialect: Dialect) -> None:
        self.marks = (*dialect.usage_marks, *dialect.event_marks)
        self.null_usage = dialect.null_usage
        self.skipped = False
        self._usage = dialect.usage_marks
        self._searched = (*dialect.event_marks, *dialect.marks_beside_usage)
        self._left = FREE_TELLING
        self._usage_left = FREE_USAGE

    def first_usage(self, block: bytes) -> Span:
        """The first event that may state usage, of a block that has some."""
        places = [block.find(mark) for mark in self._usage]
        if self.null_usage and (match := _STATED_USAGE.search(block)):
            places.append(match.start())
        return event_around(block, min(at for at in places if at >= 0))

    def find(self, block: bytes) -> set[Span]:
        """The events to read because they say more than usage."""
        spans: set[Span] = set()
        for mark in self._searched:
            self._add_marked(spans, block, mark)
        return spans

    def last_usages(self, block: bytes) -> Iterator[Span]:
        """The events that may state usage, the last one first."""
        found = [_last_events(block, mark) for mark in self._usage]
        if self.null_usage:
            found.append(_last_stated(block))
        if len(found) == 1:  # the usual: twice as fast
            return islice(found[0], MAX_USAGE)
        each_once = (span for span, _ in groupby(merge(*found, reverse=True)))
        return islice(each_once, MAX_USAGE * len(found))

    def enough(self, count: int) -> bool:
        """Whether so many events with usage suffice, if one of them states some."""
        self._usage_left -= 1
        return count >= LAST_USAGE or self._usage_left < 0

    def _add_marked(self, spans: set[Span], block: bytes, mark: bytes) -> None:
        if block.find(mark[:1]) < 0:  # a search for one byte is twenty times as fast
            return
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


def _last_events(block: bytes, mark: bytes) -> Iterator[Span]:
    start = len(block)
    while (at := block.rfind(mark, 0, start)) >= 0:
        span = event_around(block, at)
        yield span
        start = span[0]


def _last_stated(block: bytes) -> Iterator[Span]:
    """The events in which usage is something else than null."""
    nulls = 0
    left = -1  # at most so many more are stated; -1 where they were not counted
    start = len(block)
    while left and (at := block.rfind(_USAGE, 0, start)) >= 0:
        if not _STATED_USAGE.match(block, at):
            if left < 0:  # counting is much faster than passing nulls over
                left = block.count(_USAGE, 0, start) - block.count(_NULL, 0, start)
            nulls += 1
            start = at
            if nulls <= _MAX_NULLS:
                continue
            match = _LAST_STATED_USAGE.match(block, 0, start)
            if match is None:
                return
            at = match.start(1)
        span = event_around(block, at)
        yield span
        start = span[0]
        left -= left > 0


def event_around(block: bytes, at: int, *, floor: int = 0) -> Span:
    """The event around `at`, which begins at `floor` or later."""
    start = block.rfind(b"\n\n", floor, at)
    end = block.find(b"\n\n", at)
    return floor if start < 0 else start + 2, len(block) if end < 0 else end + 2
