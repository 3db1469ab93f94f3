"""A view and a place in the list of its requests go in; the requests that stand next to it come out, newest first.

The list is read in spans that lie on hours, as requests lie in ClickHouse: FINAL merges a whole span before it can
sort it. Where the first hour has too few, sums of usage say which other hours have any, and only those are read. Sums
know neither metadata nor texts: with such a filter each span is twice as long as the one before, and one that finds
nothing reads the period once; at most for as long as a reader waits: then it says how far it came.
"""

import asyncio
import bisect
import itertools
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from services.dashboard.page_params import View
from services.dashboard.periods import Bad
from services.dashboard.queries import panels
from services.dashboard.queries.runner import Query, QueryRunner

SIZE = 50
SEARCH = "q"  # in the address: text to find in model, requester and error
LONGEST_SEARCH = 200
FIRST = HOUR = timedelta(hours=1)
LONGEST = timedelta(days=64)
HOURS = 200  # that are read at once, at most
PAGE, EXPORT = "dashboard_logs_page", "dashboard_logs_export"
_TICK = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NIL, _MAX = uuid.UUID(int=0), uuid.UUID(int=(1 << 128) - 1)
_Span = tuple[datetime, datetime]  # from, until (excluded)
_MOST_MICROSECONDS = 7_258_118_400_000_000  # the year 2200


class Key(NamedTuple):
    """Where a request stands in the list: its arrival, aware UTC, and its id."""

    at: datetime
    id: uuid.UUID

    def __str__(self) -> str:
        """As it stands in an address."""
        return f"{(self.at - _EPOCH) // _TICK}.{self.id.hex}"


class Page(NamedTuple):
    """Requests, newest first. `more`: there may be others beyond. `stopped`: how far it came when its time was over."""

    rows: list[dict[str, Any]]
    more: bool = False
    stopped: Key | None = None
    failure: str = ""


def key(text: str) -> Key:
    """The place that an address names; Bad for what is none."""
    moment, _, name = text.partition(".")
    if not (moment.isascii() and moment.isdecimal() and len(moment) <= 16 and int(moment) < _MOST_MICROSECONDS):
        raise Bad("Invalid list position.")
    try:
        if len(name) != 32:
            raise ValueError
        return Key(_EPOCH + timedelta(microseconds=int(moment)), uuid.UUID(hex=name))
    except ValueError:
        raise Bad("Invalid list position.") from None


def key_of(row: Mapping[str, Any]) -> Key:
    """Where a row stands."""
    return Key(row["started_at"], row["id"])


def stamp(at: datetime) -> str:
    """A moment as a question takes it: to the microsecond, which the driver would cut off."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"


def search(shown: View) -> str:
    """The text to find, "" for none; Bad when it is too long."""
    text = shown.query.get(SEARCH, "")
    if len(text) > LONGEST_SEARCH:
        raise Bad(f"{SEARCH} is longer than {LONGEST_SEARCH} characters.")
    return text


async def older(
    books: QueryRunner,
    shown: View,
    after: Key | None,
    *,
    size: int = SIZE,
    seconds: float,
    name: str = PAGE,
    measure: str = "requests",
) -> Page:
    """What comes next: at most `size` requests that came before `after`, None for the newest.

    `name`: the question that tells them; `measure`: of what usage must have any where it can find one (errors).
    """
    walk = _Walk(books, shown, name=name, measure=measure, ascending=False)
    return await walk.on(after or Key(shown.until, _NIL), size=size, seconds=seconds)


async def newer(books: QueryRunner, shown: View, before: Key, *, size: int = SIZE, seconds: float) -> Page:
    """The page above: at most `size` requests that came after `before`, those nearest to it, newest first."""
    walk = _Walk(books, shown, name=PAGE, measure="requests", ascending=True)
    page = await walk.on(before, size=size, seconds=seconds)
    return page._replace(rows=page.rows[::-1])


class _Walk:
    """Through the list, from a place on: up or down."""

    def __init__(self, books: QueryRunner, shown: View, *, name: str, measure: str, ascending: bool) -> None:
        self._books, self._shown, self._name, self._measure, self._up = books, shown, name, measure, ascending
        self._sums = panels.summed(shown) and not search(shown)

    async def on(self, edge: Key, *, size: int, seconds: float) -> Page:
        """One more than `size` is looked for, so that the last page knows that it is the last."""
        loop, shown, up = asyncio.get_running_loop(), self._shown, self._up
        deadline, step = loop.time() + seconds, FIRST
        rows: list[dict[str, Any]] = []
        at = max(shown.since, edge.at) if up else min(shown.until, edge.at + _TICK)
        while len(rows) <= size and (at < shown.until if up else at > shown.since):
            if loop.time() > deadline:
                return Page(rows, more=True, stopped=Key(at - _TICK, _MAX) if up else Key(at, _NIL))
            span, wanted, hours = self._span(at, step), size + 1 - len(rows), list[datetime]()
            if step > FIRST and self._sums and (found := await self._hours(at, wanted)) is not None:
                if not found:
                    break
                hours, span = found, self._around(at, found)
            asked = await self._books.ask(self._question(edge, span, hours, limit=wanted))
            if asked.failure:
                return Page(rows, more=bool(rows), stopped=key_of(rows[-1]) if rows else None, failure=asked.failure)
            rows += asked.rows
            at, step = span[1] if up else span[0], min(step * 2, LONGEST)
        return Page(rows[:size], more=len(rows) > size)

    def _question(self, edge: Key, span: _Span, hours: list[datetime], *, limit: int) -> Query:
        place = {"edge": stamp(edge.at), "edge_id": str(edge.id), "ascending": int(self._up), "limit": limit}
        chosen = {"since": stamp(span[0]), "until": stamp(span[1]), "hours": hours, "search": search(self._shown)}
        return Query(self._name, self._shown.parameters() | place | chosen)

    async def _hours(self, at: datetime, wanted: int) -> list[datetime] | None:
        """The next hours that have so many together, or all that are left; None where that cannot be told."""
        since, until = (at, self._shown.until) if self._up else (self._shown.since, at)
        question = panels.hours(
            self._shown, self._measure, since=stamp(since), until=stamp(until), up=self._up, limit=HOURS
        )
        asked = await self._books.ask(question)
        if asked.failure:
            return None
        sums = list(itertools.accumulate(row[self._measure] for row in asked.rows))
        return [row["hour"] for row in asked.rows[: bisect.bisect_left(sums, wanted) + 1]]

    def _around(self, at: datetime, hours: list[datetime]) -> _Span:
        """From `at` to the end of the farthest of them."""
        if self._up:
            return at, min(self._shown.until, hours[-1] + HOUR)
        return max(self._shown.since, hours[-1]), at

    def _span(self, at: datetime, step: timedelta) -> _Span:
        """The next span from `at`, up to a full hour."""
        if self._up:
            end = at + step
            end = end.replace(minute=0, second=0, microsecond=0)
            return at, min(self._shown.until, end if end > at else at + step)
        start = (at - step).replace(minute=0, second=0, microsecond=0)
        return max(self._shown.since, start), at
