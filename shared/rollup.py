"""The rollup behind the views `usage` and `usage_totals`.

A pass recomputes whole buckets from the requests and never adds to them, so it may be repeated, aborted, or run in
several places at once. Its results take effect when it has finished and recorded itself in rollup_passes; until then
the views compute the buckets from the requests. This relies on two bounds. An insert is visible within three minutes,
by which views and passes overlap with the last pass. And no statement here runs for more than a minute (SETTINGS), so
whatever a slow statement writes late is in buckets that a later pass recomputes.
"""

import itertools
import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from clickhouse_connect.driver.asyncclient import AsyncClient

from shared import clickhouse

log = logging.getLogger(__name__)

BUCKET = timedelta(minutes=15)
DAY = timedelta(days=1)
VERIFIED = 40 * DAY  # the period that a nightly pass verifies
SIZES_CHUNK = 500  # buckets per query of sizes: the list is part of the URL
STATEMENT_ROWS = 200_000  # maximum rows read by a statement, which bounds memory; at least one bucket
STATEMENT_SPAN = 30 * DAY  # an insert into more than 100 partitions (days) is refused
# one thread: a pass must not slow down concurrent inserts and queries
SETTINGS = {"max_execution_time": 60, "timeout_overflow_mode": "throw", "max_threads": 1, "max_insert_threads": 1}

SPANS = (900, 3600, 14400, 86400)  # spans in seconds that are summed up for queries over weeks
QUARTERS = ("rollup_compute", "rollup_vanished", "rollup_totals", "rollup_totals_vanished")  # in this order
NARROW = ("rollup_sums", "rollup_requesters", "rollup_latency")  # of the same buckets, from the results of QUARTERS
FAULTS = ("rollup_faults", "rollup_faults_vanished")  # of the same buckets, from their requests
WIDER = ("rollup_sums_wider", "rollup_requesters_wider", "rollup_latency_wider")
REFRESH = "refresh"
VERIFY = "verify"
BACKFILL = "backfill"
NARROWED = "sums"  # a new name makes the first pass of a release recompute all narrow sums; was: narrow
NEVER = datetime(1970, 1, 1, tzinfo=UTC)


class State(msgspec.Struct, frozen=True, kw_only=True):
    """Progress of the rollup, by the server's clock."""

    now: datetime
    refreshed: datetime  # start of the last finished refresh; NEVER if none
    narrowed: datetime  # start of the last refresh that wrote narrow sums and faults
    verified: datetime
    days_summed: datetime  # start of the last finished pass over days, see shared/rollup_days.py
    rows_from: datetime  # older buckets are not recomputed: their requests may be deleted

    @property
    def since(self) -> datetime:
        """All rows stored before this time are in every rollup table."""
        return self.refreshed if self.narrowed == NEVER else min(self.refreshed, self.narrowed)


async def state(client: AsyncClient) -> State:
    """Read the state; like all functions here, raises one of clickhouse.Failed."""
    (row,) = await clickhouse.run_query(client, "rollup_state")
    return State(**row)


async def refresh(client: AsyncClient) -> int:
    """Recompute all buckets with new requests since the last pass; returns how many."""
    began = time.monotonic()
    before = await state(client)
    first = before.narrowed == NEVER
    if first:
        await _narrow_all(client, before)
    buckets = await _touched(client, before)
    await compute(client, buckets, at=before.now)
    if buckets or first or before.now - before.since > DAY:  # an idle system need not record every pass
        for name in (NARROWED, REFRESH):
            await record_pass(client, name, before, buckets=len(buckets), began=began)
    return len(buckets)


async def verify(client: AsyncClient) -> int:
    """Compare recent days with their requests and recompute wrong buckets."""
    began = time.monotonic()
    before = await state(client)
    count = 0
    since = max(before.now - VERIFIED, before.rows_from)
    # 1. quarters of an hour against the requests, some days at a time
    for chunk in await day_chunks(client, days(since, before.now)):
        rows = await clickhouse.run_query(client, "rollup_differing", since=chunk[0], until=chunk[-1] + DAY)
        count += await _repair(client, {row["bucket"] for row in rows}, before, seconds=BUCKET.seconds)
    # 2. wider spans against the quarters
    period = {"since": start_of_day(since), "until": start_of_day(before.now) + DAY}
    rows = await clickhouse.run_query(client, "rollup_spans_differing", **period)
    for seconds in sorted({row["span"] for row in rows}):
        wrong = {row["bucket"] for row in rows if row["span"] == seconds}
        count += await _repair(client, wrong, before, seconds=seconds)
    await record_pass(client, VERIFY, before, buckets=count, began=began)
    return count


async def _repair(client: AsyncClient, differing: set[datetime], before: State, *, seconds: int) -> int:
    """Recompute differing spans of this length, except those with new requests; returns how many."""
    wrong = differing - _spans(await _touched(client, before), seconds) if differing else differing
    if wrong:
        log.warning("the rollup was wrong in %d buckets since %s; recomputing them", len(wrong), min(wrong))
        await compute(client, wrong, at=(await state(client)).now)
    return len(wrong)


async def backfill(client: AsyncClient, *, since: datetime, until: datetime) -> int:
    """Recompute all buckets between `since` and `until`; returns how many."""
    began = time.monotonic()
    before = await state(client)
    count = 0
    for chunk in await day_chunks(client, days(max(since, before.rows_from), until)):
        rows = await clickhouse.run_query(client, "rollup_stored", since=chunk[0], until=chunk[-1] + DAY)
        await compute(client, [row["bucket"] for row in rows], at=(await state(client)).now)
        count += len(rows)
    await record_pass(client, BACKFILL, before, buckets=count, began=began)
    return count


async def compute(client: AsyncClient, buckets: Iterable[datetime], *, at: datetime) -> None:
    """Recompute buckets as a pass that began `at`; rows of later passes win."""
    ordered = sorted(buckets)
    await _quarters(client, ordered, (*QUARTERS, *NARROW, *FAULTS), at=at)
    await _span(client, ordered, at=at)


async def _quarters(
    client: AsyncClient, ordered: Sequence[datetime], statements: Sequence[str], *, at: datetime
) -> None:
    """Run the statements over these buckets, in chunks that a statement can process."""
    for start in range(0, len(ordered), SIZES_CHUNK):
        buckets = ordered[start : start + SIZES_CHUNK]
        rows = await clickhouse.run_query(client, "rollup_sizes", buckets=buckets)
        sizes = {row["bucket"]: row["size"] for row in rows}
        for chunk in chunks([(bucket, sizes.get(bucket, 0)) for bucket in buckets]):
            for statement in statements:
                await execute(client, statement, buckets=chunk, at=at)


async def _span(client: AsyncClient, buckets: Iterable[datetime], *, at: datetime) -> None:
    """Sum up the wider spans that contain these buckets from narrower ones, some days at a time."""
    of_days: dict[datetime, list[datetime]] = defaultdict(list)
    for bucket in buckets:
        of_days[start_of_day(bucket)].append(bucket)
    for chunk in await day_chunks(client, of_days):
        for narrower, span in itertools.pairwise(SPANS):
            spans = sorted(_spans(itertools.chain.from_iterable(of_days[day] for day in chunk), span))
            for statement in WIDER:
                await execute(client, statement, spans=spans, span=span, narrower=narrower, at=at)


def _spans(buckets: Iterable[datetime], seconds: int) -> set[datetime]:
    """The starts of the spans of this length that contain these buckets."""
    span = timedelta(seconds=seconds)
    return {NEVER + (bucket - NEVER) // span * span for bucket in buckets}


async def _narrow_all(client: AsyncClient, before: State) -> None:
    """Compute narrow sums and faults for buckets of an earlier version.

    Sums come from the rollup, since requests may be deleted already; faults from the requests that still exist.
    """
    for row in await clickhouse.run_query(client, "rollup_days"):
        ordered = sorted(row["buckets"])
        for statement in NARROW:
            await execute(client, statement, buckets=ordered, at=before.now)
        await _span(client, ordered, at=before.now)
        await _quarters(client, [bucket for bucket in ordered if bucket >= before.rows_from], FAULTS, at=before.now)


async def day_chunks(client: AsyncClient, days: Iterable[datetime]) -> list[list[datetime]]:
    """Split days, given by their starts, into chunks for one statement each."""
    ordered = sorted(days)
    if len(ordered) < 2:
        return [ordered] if ordered else []
    rows = await clickhouse.run_query(client, "rollup_day_sizes", days=ordered)
    sizes = {row["day"]: row["size"] for row in rows}
    return list(chunks([(day, sizes.get(day, 0)) for day in ordered]))


def chunks(sizes: Sequence[tuple[datetime, int]]) -> Iterator[list[datetime]]:
    """Split ordered buckets into chunks for one statement each, by rows and by days."""
    chunk: list[datetime] = []
    total = 0
    for bucket, size in sizes:
        if chunk and (total + size > STATEMENT_ROWS or bucket - chunk[0] > STATEMENT_SPAN):
            yield chunk
            chunk = []
            total = 0
        chunk.append(bucket)
        total += size
    if chunk:
        yield chunk


async def _touched(client: AsyncClient, before: State) -> set[datetime]:
    """Buckets that the views compute from the requests, so that the rollup may rightly differ."""
    rows = await clickhouse.run_query(client, "rollup_touched", refreshed=before.since, rows_from=before.rows_from)
    return {row["bucket"] for row in rows}


def days(since: datetime, until: datetime) -> Iterator[datetime]:
    """The starts of all UTC days that overlap with the period."""
    day = start_of_day(since)
    while day < until:
        yield day
        day += DAY


def start_of_day(moment: datetime) -> datetime:
    """Return the start of the UTC day."""
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


async def record_pass(client: AsyncClient, name: str, before: State, *, buckets: int, began: float) -> None:
    """Record a finished pass, from which on the views use its results."""
    seconds = time.monotonic() - began
    values = {"up_to": before.now, "rows_from": before.rows_from, "buckets": buckets, "seconds": seconds}
    await execute(client, "rollup_passed", **{"pass": name, **values})


async def execute(client: AsyncClient, statement: str, **parameters: Any) -> None:
    """Run an inserting statement of a pass."""
    await client.command(clickhouse.text(statement), parameters=parameters, settings=SETTINGS, use_database=False)
