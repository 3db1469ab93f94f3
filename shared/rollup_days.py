"""Computes usage_days and usage_session_days: sums per day.

The first has all dimensions together, the second the session and what each session has few of.

A day is computed from its requests once it has been over for SETTLING, and again when requests of it arrive late: it
has too many rows to be recomputed every minute, as the other tables of the rollup are. Until then queries read it from
the requests. Like other passes (see shared/rollup.py), one may be repeated, aborted, or run in several places at once:
the newest `computed_at` of a key counts, and only a finished pass is recorded.
"""

import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from clickhouse_connect.driver.asyncclient import AsyncClient

from shared import clickhouse, rollup

NAME = "day sums"  # a new name makes the first pass of a release recompute all days; was: days
KIND = "days"  # in metrics
SETTLING = timedelta(hours=2)  # after midnight UTC, when most of the day's long requests have ended
_TABLES = ("usage_days", "usage_session_days")
_STATEMENTS = (
    *("rollup_day", "rollup_day_vanished"),  # in this order
    *("rollup_session_day", "rollup_session_day_vanished"),
)


def due(now: datetime) -> datetime:
    """Return the time up to which days are complete in a pass that begins `now`."""
    return rollup.start_of_day(now - SETTLING) if now - SETTLING > rollup.NEVER else rollup.NEVER


def is_due(state: rollup.State, *, every: float) -> bool:
    """Whether a pass is due: a day is over, or the last pass is `every` seconds old."""
    age = (state.now - state.days_summed).total_seconds()
    return age > every or due(state.now) > due(state.days_summed)


async def refresh(client: AsyncClient) -> int:
    """Compute all days that are over or have new requests; returns how many."""
    began = time.monotonic()
    state = await rollup.state(client)
    until = due(state.now)
    done = due(state.days_summed)
    rows = await clickhouse.run_query(
        client, "rollup_days_due", due=until, done=done, since=state.days_summed, rows_from=state.rows_from
    )
    days = {row["day"] for row in rows}
    await compute(client, days, at=state.now)
    await rollup.record_pass(client, NAME, state, buckets=len(days), began=began)
    return len(days)


async def verify(client: AsyncClient) -> int:
    """Compare recent days with the other sums and recompute wrong ones."""
    state = await rollup.state(client)
    if state.days_summed == rollup.NEVER:
        return 0
    since = max(rollup.start_of_day(state.now - rollup.VERIFIED), state.rows_from)
    period = {"since": since, "until": due(state.days_summed)}
    rows = [
        row
        for table in _TABLES
        for row in await clickhouse.run_query(client, "rollup_days_differing", table=table, **period)
    ]
    touched = await clickhouse.run_query(
        client,
        "rollup_days_due",
        due=due(state.days_summed),
        done=due(state.days_summed),
        since=state.days_summed,
        rows_from=since,
    )
    wrong = {row["bucket"] for row in rows} - {row["day"] for row in touched}
    await compute(client, wrong, at=state.now)
    return len(wrong)


async def backfill(client: AsyncClient, *, since: datetime, until: datetime) -> int:
    """Recompute all summed days between `since` and `until`; returns how many."""
    state = await rollup.state(client)
    end = min(until, due(state.days_summed))
    days = list(rollup.days(max(since, state.rows_from), end)) if since < end else []
    await compute(client, days, at=state.now)
    return len(days)


async def compute(client: AsyncClient, days: Iterable[datetime], *, at: datetime) -> None:
    """Compute days, given by their starts, as a pass that began `at`."""
    for chunk in await rollup.day_chunks(client, (day.astimezone(UTC) for day in days)):
        for statement in _STATEMENTS:
            await rollup.execute(client, statement, days=chunk, at=at)
