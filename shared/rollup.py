"""The rollup behind the views `usage` and `usage_totals`.

A pass computes whole buckets anew from the requests and never adds to them, so it may be repeated, cut off, or run in
several places at once. What it wrote counts only when it is over and its row stands in rollup_passes: until then the
views take the buckets from the requests. This rests on two bounds. An insert is visible within the three minutes by
which views and passes look back behind the last pass; and no statement here outlasts a minute (SETTINGS), so what a
slow one writes late lies in buckets that a pass after it still computes again.
"""

import itertools
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from clickhouse_connect.driver.asyncclient import AsyncClient

from shared import clickhouse

log = logging.getLogger(__name__)

BUCKET = timedelta(minutes=15)
DAY = timedelta(days=1)
VERIFIED = 40 * DAY  # what a nightly pass looks at
LOOK = 500  # buckets whose sizes are asked for at once: their list travels in the URL
STATEMENT_ROWS = 200_000  # rows of requests read by a statement, or a bucket's if those are more: bounds its memory
STATEMENT_SPAN = 30 * DAY  # an insert into more than a hundred partitions is refused, and they are days
# one thread: a pass takes its time, the inserts and questions beside it should not wait for it
SETTINGS = {"max_execution_time": 60, "timeout_overflow_mode": "throw", "max_threads": 1, "max_insert_threads": 1}

SPANS = (900, 3600, 14400, 86400)  # seconds of what is summed up for questions over weeks
QUARTERS = ("rollup_compute", "rollup_vanished", "rollup_totals", "rollup_totals_vanished")  # in this order
NARROW = ("rollup_sums", "rollup_requesters", "rollup_latency")  # of the same buckets, from what those wrote
FAULTS = ("rollup_faults", "rollup_faults_vanished")  # of the same buckets, from their requests
WIDER = ("rollup_sums_wider", "rollup_requesters_wider", "rollup_latency_wider")
REFRESH, VERIFY, BACKFILL = "refresh", "verify", "backfill"
NARROWED = "sums"  # a new name here makes the first pass of a release compute all narrower sums anew; was: narrow
NEVER = datetime(1970, 1, 1, tzinfo=UTC)


class State(msgspec.Struct, frozen=True, kw_only=True):
    """How far the rollup is, by the server's clock."""

    now: datetime
    refreshed: datetime  # when the last finished pass of that kind began; NEVER for none
    narrowed: datetime  # the same, of those that wrote narrower sums and faults
    verified: datetime
    rows_from: datetime  # buckets before it are left as they are: their requests may be deleted

    @property
    def since(self) -> datetime:
        """Whatever was stored before stands in every table of the rollup."""
        return self.refreshed if self.narrowed == NEVER else min(self.refreshed, self.narrowed)


async def state(client: AsyncClient) -> State:
    """As it is now; raises one of clickhouse.Failed, as everything here does."""
    (row,) = await clickhouse.ask(client, "rollup_state")
    return State(**row)


async def refresh(client: AsyncClient) -> int:
    """Compute every bucket that requests came to since the last pass, wherever it lies; returns how many."""
    began, before = time.monotonic(), await state(client)
    first = before.narrowed == NEVER
    if first:
        await _narrow_all(client, before)
    buckets = await _touched(client, before)
    await compute(client, buckets, at=before.now)
    if buckets or first or before.now - before.since > DAY:  # what is idle need not say so each time
        for kind in (NARROWED, REFRESH):
            await _passed(client, kind, before, buckets=len(buckets), began=began)
    return len(buckets)


async def verify(client: AsyncClient) -> int:
    """Compare the last days with their requests and compute what differs, day by day; returns how many buckets did."""
    began, before, count = time.monotonic(), await state(client), 0
    since = max(before.now - VERIFIED, before.rows_from)
    for day in days(since, before.now):
        found = await clickhouse.ask(client, "rollup_differing", day=day)
        count += await _put_right(client, {row["bucket"] for row in found}, before, seconds=BUCKET.seconds)
    period = {"since": _day(since), "until": _day(before.now) + DAY}
    found = await clickhouse.ask(client, "rollup_spans_differing", **period)
    for seconds in sorted({row["span"] for row in found}):
        wrong = {row["bucket"] for row in found if row["span"] == seconds}
        count += await _put_right(client, wrong, before, seconds=seconds)
    await _passed(client, VERIFY, before, buckets=count, began=began)
    return count


async def _put_right(client: AsyncClient, found: set[datetime], before: State, *, seconds: int) -> int:
    """Compute these spans of so many seconds, but for those to which requests have come; returns how many."""
    wrong = found - _spans(await _touched(client, before), seconds) if found else found
    if wrong:
        log.warning("the rollup was wrong in %d buckets since %s and is computed anew", len(wrong), min(wrong))
        await compute(client, wrong, at=(await state(client)).now)
    return len(wrong)


async def backfill(client: AsyncClient, *, since: datetime, until: datetime) -> int:
    """Compute every bucket between `since` and `until` anew, day by day; returns how many."""
    began, before, count = time.monotonic(), await state(client), 0
    for day in days(max(since, before.rows_from), until):
        rows = await clickhouse.ask(client, "rollup_stored", since=day, until=day + DAY)
        await compute(client, [row["bucket"] for row in rows], at=(await state(client)).now)
        count += len(rows)
    await _passed(client, BACKFILL, before, buckets=count, began=began)
    return count


async def compute(client: AsyncClient, buckets: Iterable[datetime], *, at: datetime) -> None:
    """Compute these buckets as a pass that began `at`: a row of a later one wins against it."""
    ordered = sorted(buckets)
    await _quarters(client, ordered, (*QUARTERS, *NARROW, *FAULTS), at=at)
    await _span(client, ordered, at=at)


async def _quarters(
    client: AsyncClient, ordered: Sequence[datetime], statements: Sequence[str], *, at: datetime
) -> None:
    """Run the statements over these buckets, so many at a time as one can take."""
    for start in range(0, len(ordered), LOOK):
        asked = ordered[start : start + LOOK]
        found = {row["bucket"]: row["size"] for row in await clickhouse.ask(client, "rollup_sizes", buckets=asked)}
        for some in cut([(bucket, found.get(bucket, 0)) for bucket in asked]):
            for statement in statements:
                await _tell(client, statement, buckets=some, at=at)


async def _span(client: AsyncClient, buckets: Iterable[datetime], *, at: datetime) -> None:
    """Sum up the wider spans in which these buckets lie, each from narrower ones, a day at a time."""
    for _, some in itertools.groupby(sorted(buckets), key=_day):
        found = list(some)
        for narrower, span in itertools.pairwise(SPANS):
            spans = sorted(_spans(found, span))
            for statement in WIDER:
                await _tell(client, statement, spans=spans, span=span, narrower=narrower, at=at)


def _spans(buckets: Iterable[datetime], seconds: int) -> set[datetime]:
    """The starts of the spans of so many seconds in which these buckets lie."""
    span = timedelta(seconds=seconds)
    return {NEVER + (bucket - NEVER) // span * span for bucket in buckets}


async def _narrow_all(client: AsyncClient, before: State) -> None:
    """What an earlier version left without narrower sums and faults.

    Sums from the rollup, for requests may be deleted already; faults from the requests, as far as they are kept.
    """
    for row in await clickhouse.ask(client, "rollup_days"):
        ordered = sorted(row["buckets"])
        for statement in NARROW:
            await _tell(client, statement, buckets=ordered, at=before.now)
        await _span(client, ordered, at=before.now)
        await _quarters(client, [one for one in ordered if one >= before.rows_from], FAULTS, at=before.now)


def cut(sizes: Sequence[tuple[datetime, int]]) -> Iterator[list[datetime]]:
    """The buckets in their order, so many at a time as one statement can take: by their rows, and by days."""
    some: list[datetime] = []
    total = 0
    for bucket, size in sizes:
        if some and (total + size > STATEMENT_ROWS or bucket - some[0] > STATEMENT_SPAN):
            yield some
            some, total = [], 0
        some.append(bucket)
        total += size
    if some:
        yield some


async def _touched(client: AsyncClient, before: State) -> set[datetime]:
    """What the views take from the requests: verifying it would find it wrong, as it should be."""
    rows = await clickhouse.ask(client, "rollup_touched", refreshed=before.since, rows_from=before.rows_from)
    return {row["bucket"] for row in rows}


def days(since: datetime, until: datetime) -> Iterator[datetime]:
    """The starts of the days, UTC, that lie between the two at least in part."""
    day = _day(since)
    while day < until:
        yield day
        day += DAY


def _day(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


async def _passed(client: AsyncClient, kind: str, before: State, *, buckets: int, began: float) -> None:
    seconds = time.monotonic() - began
    said = {"up_to": before.now, "rows_from": before.rows_from, "buckets": buckets, "seconds": seconds}
    await _tell(client, "rollup_passed", **{"pass": kind, **said})


async def _tell(client: AsyncClient, statement: str, **parameters: Any) -> None:
    await client.command(clickhouse.text(statement), parameters=parameters, settings=SETTINGS, use_database=False)
