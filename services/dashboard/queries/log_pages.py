"""Pages of the request list, newest first, by keyset pagination.

The list is read in spans of whole hours, since FINAL merges a whole span before it can sort it. When the first hour has
too few rows, the rollup tells which other hours have any, and only those are read. Filters by metadata, text, client,
agent or session are not in the rollup: then each span is twice as long as the previous one, until the time limit; the
page says how far it got.
"""

import asyncio
import bisect
import itertools
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from services.dashboard.page_params import View
from services.dashboard.periods import BadParameter
from services.dashboard.queries import panels, source_sql
from services.dashboard.queries.runner import Query, QueryRunner

SIZE = 50
SEARCH = "q"  # URL parameter: text to find in model, requester and error
LONGEST_SEARCH = 200
FIRST_SPAN = HOUR = timedelta(hours=1)
LONGEST_SPAN = timedelta(days=64)
MAX_HOURS = 200  # read by one query
PAGE = "dashboard_logs_page"
EXPORT = "dashboard_logs_export"
_TICK = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NIL = uuid.UUID(int=0)
_MAX = uuid.UUID(int=(1 << 128) - 1)
_Span = tuple[datetime, datetime]  # from, until (excluded)
_MOST_MICROSECONDS = 7_258_118_400_000_000  # the year 2200


class Key(NamedTuple):
    """Position of a request in the list: its start, aware UTC, and its ID."""

    at: datetime
    id: uuid.UUID

    def __str__(self) -> str:
        """Return the position as in a URL."""
        return f"{(self.at - _EPOCH) // _TICK}.{self.id.hex}"


class Page(NamedTuple):
    """Requests, newest first. `stopped`: the position at the time limit."""

    rows: list[dict[str, Any]]
    more: bool = False
    stopped: Key | None = None
    failure: str = ""


def parse_key(text: str) -> Key:
    """Parse a position in a URL; raises BadParameter."""
    moment, _, name = text.partition(".")
    if not (moment.isascii() and moment.isdecimal() and len(moment) <= 16 and int(moment) < _MOST_MICROSECONDS):
        raise BadParameter("Invalid list position.")
    try:
        if len(name) != 32:
            raise ValueError
        return Key(_EPOCH + timedelta(microseconds=int(moment)), uuid.UUID(hex=name))
    except ValueError:
        raise BadParameter("Invalid list position.") from None


def key_of(row: Mapping[str, Any]) -> Key:
    """Return the position of a row."""
    return Key(row["started_at"], row["id"])


def timestamp(at: datetime) -> str:
    """Format a time parameter with microseconds, which the driver would drop."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"


def search(view: View) -> str:
    """Return the text to find, "" for none; raises BadParameter if it is too long."""
    return parse_search(view.query)


def parse_search(query: Mapping[str, str]) -> str:
    """Return the text to find in the parameters of a URL, likewise."""
    text = query.get(SEARCH, "")
    if len(text) > LONGEST_SEARCH:
        raise BadParameter(f"{SEARCH} is longer than {LONGEST_SEARCH} characters.")
    return text


async def older(
    runner: QueryRunner,
    view: View,
    after: Key | None,
    *,
    size: int = SIZE,
    seconds: float,
    name: str = PAGE,
    measure: str = "requests",
) -> Page:
    """Return up to `size` requests older than `after`; None: the newest ones.

    `name`: the query. `measure`: hours without any of it in the rollup are skipped.
    """
    reader = _PageReader(runner, view, name=name, measure=measure, ascending=False)
    return await reader.read(after or Key(view.until, _NIL), size=size, seconds=seconds)


async def newer(
    runner: QueryRunner, view: View, before: Key, *, size: int = SIZE, seconds: float, name: str = PAGE
) -> Page:
    """Return the `size` requests just newer than `before`, newest first."""
    reader = _PageReader(runner, view, name=name, measure="requests", ascending=True)
    page = await reader.read(before, size=size, seconds=seconds)
    return page._replace(rows=page.rows[::-1])


class _PageReader:
    """Reads the list from a position, towards newer or older requests."""

    def __init__(self, runner: QueryRunner, view: View, *, name: str, measure: str, ascending: bool) -> None:
        self._runner = runner
        self._view = view
        self._name = name
        self._measure = measure
        self._up = ascending
        self._has_sums = source_sql.in_sums(view) and not search(view)

    async def read(self, edge: Key, *, size: int, seconds: float) -> Page:
        """Read up to `size` rows, and one more to know whether there are more."""
        loop = asyncio.get_running_loop()
        view = self._view
        up = self._up
        deadline = loop.time() + seconds
        step = FIRST_SPAN
        rows: list[dict[str, Any]] = []
        at = max(view.since, edge.at) if up else min(view.until, edge.at + _TICK)
        while len(rows) <= size and (at < view.until if up else at > view.since):
            if loop.time() > deadline:
                return Page(rows, more=True, stopped=Key(at - _TICK, _MAX) if up else Key(at, _NIL))
            span = self._span(at, step)
            wanted = size + 1 - len(rows)
            hours: list[datetime] = []
            if step > FIRST_SPAN and self._has_sums and (next_hours := await self._hours(at, wanted)) is not None:
                if not next_hours:
                    break
                hours = next_hours
                span = self._around(at, next_hours)
            result = await self._runner.run(self._page_query(edge, span, hours, limit=wanted))
            if result.failure:
                return Page(rows, more=bool(rows), stopped=key_of(rows[-1]) if rows else None, failure=result.failure)
            rows += result.rows
            at = span[1] if up else span[0]
            step = min(step * 2, LONGEST_SPAN)
        return Page(rows[:size], more=len(rows) > size)

    def _page_query(self, edge: Key, span: _Span, hours: list[datetime], *, limit: int) -> Query:
        place = {"edge": timestamp(edge.at), "edge_id": str(edge.id), "ascending": int(self._up), "limit": limit}
        chosen = {
            "since": timestamp(span[0]),
            "until": timestamp(span[1]),
            "hours": hours,
            "search": search(self._view),
        }
        return Query(self._name, self._view.parameters() | place | chosen)

    async def _hours(self, at: datetime, wanted: int) -> list[datetime] | None:
        """Return the next hours with `wanted` rows in sum, or all left; None if the query fails."""
        since, until = (at, self._view.until) if self._up else (self._view.since, at)
        query = panels.hours(
            self._view, self._measure, since=timestamp(since), until=timestamp(until), up=self._up, limit=MAX_HOURS
        )
        result = await self._runner.run(query)
        if result.failure:
            return None
        sums = list(itertools.accumulate(row[self._measure] for row in result.rows))
        return [row["hour"] for row in result.rows[: bisect.bisect_left(sums, wanted) + 1]]

    def _around(self, at: datetime, hours: list[datetime]) -> _Span:
        """Return the span from `at` to the end of the farthest hour."""
        if self._up:
            return at, min(self._view.until, hours[-1] + HOUR)
        return max(self._view.since, hours[-1]), at

    def _span(self, at: datetime, step: timedelta) -> _Span:
        """Return the next span from `at` to a full hour."""
        if self._up:
            end = at + step
            end = end.replace(minute=0, second=0, microsecond=0)
            return at, min(self._view.until, end if end > at else at + step)
        start = (at - step).replace(minute=0, second=0, microsecond=0)
        return max(self._view.since, start), at
