"""A view and a place in the list of its requests go in; the requests that stand next to it come out, newest first.

The list is read in spans that lie on hours, as requests lie in ClickHouse: FINAL merges a whole span before it can
sort it. Each span is twice as long as the one before, so a page at any depth costs an hour or two, and a filter that
finds nothing reads the period once; at most for as long as a reader waits: then it says how far it came.
"""

import asyncio
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from services.dashboard.books import Books, Question
from services.dashboard.periods import Bad
from services.dashboard.view import View

SIZE = 50
SEARCH = "q"  # in the address: text to find in model, requester and error
LONGEST_SEARCH = 200
FIRST = timedelta(hours=1)
PAGE, EXPORT = "dashboard_logs_page", "dashboard_logs_export"
_TICK = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NIL, _MAX = uuid.UUID(int=0), uuid.UUID(int=(1 << 128) - 1)
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
        raise Bad("this is no place in the list")
    try:
        if len(name) != 32:
            raise ValueError
        return Key(_EPOCH + timedelta(microseconds=int(moment)), uuid.UUID(hex=name))
    except ValueError:
        raise Bad("this is no place in the list") from None


def of(row: Mapping[str, Any]) -> Key:
    """Where a row stands."""
    return Key(row["started_at"], row["id"])


def stamp(at: datetime) -> str:
    """A moment as a question takes it: to the microsecond, which the driver would cut off."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"


def search(shown: View) -> str:
    """The text to find, "" for none; Bad when it is too long."""
    text = shown.query.get(SEARCH, "")
    if len(text) > LONGEST_SEARCH:
        raise Bad(f"{SEARCH} is longer than {LONGEST_SEARCH} characters")
    return text


async def older(
    books: Books, shown: View, after: Key | None, *, size: int = SIZE, seconds: float, name: str = PAGE
) -> Page:
    """What comes next: at most `size` requests that came before `after`, None for the newest."""
    edge = after or Key(shown.until, _NIL)
    return await _walk(books, shown, edge, size=size, seconds=seconds, name=name, ascending=False)


async def newer(books: Books, shown: View, before: Key, *, size: int = SIZE, seconds: float) -> Page:
    """The page above: at most `size` requests that came after `before`, those nearest to it, newest first."""
    page = await _walk(books, shown, before, size=size, seconds=seconds, name=PAGE, ascending=True)
    return page._replace(rows=page.rows[::-1])


async def _walk(books: Books, shown: View, edge: Key, *, size: int, seconds: float, name: str, ascending: bool) -> Page:
    """One more than `size` is looked for, so that the last page knows that it is the last."""
    loop = asyncio.get_running_loop()
    deadline, step = loop.time() + seconds, FIRST
    rows: list[dict[str, Any]] = []
    at = max(shown.since, edge.at) if ascending else min(shown.until, edge.at + _TICK)
    while len(rows) <= size and (at < shown.until if ascending else at > shown.since):
        if loop.time() > deadline:
            return Page(rows, more=True, stopped=Key(at - _TICK, _MAX) if ascending else Key(at, _NIL))
        span = _span(shown, at, step, ascending=ascending)
        parameters = shown.parameters() | {
            "since": stamp(span[0]),
            "until": stamp(span[1]),
            "edge": stamp(edge.at),
            "edge_id": str(edge.id),
            "ascending": int(ascending),
            "search": search(shown),
            "limit": size + 1 - len(rows),
        }
        asked = await books.ask(Question(name, parameters))
        if asked.failure:
            return Page(rows, more=bool(rows), stopped=of(rows[-1]) if rows else None, failure=asked.failure)
        rows += asked.rows
        at, step = span[1] if ascending else span[0], step * 2
    return Page(rows[:size], more=len(rows) > size)


def _span(shown: View, at: datetime, step: timedelta, *, ascending: bool) -> tuple[datetime, datetime]:
    """The next span from `at`, up to a full hour."""
    if ascending:
        end = at + step
        end = end.replace(minute=0, second=0, microsecond=0)
        return at, min(shown.until, end if end > at else at + step)
    start = (at - step).replace(minute=0, second=0, microsecond=0)
    return max(shown.since, start), at
