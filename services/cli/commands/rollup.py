"""The command `rollup backfill`: rebuilds the usage rollup from the requests."""

import os
from datetime import UTC, datetime, timedelta

import click

from services.cli import options, output, periods
from services.cli.options import Group
from services.cli.outcome import Outcome

PATIENCE = 3600.0  # seconds for one statement

rollup = Group(
    "rollup",
    help="Rebuild the usage rollup.",
    examples=("metrion rollup backfill --since 2026-10-01",),
)


@rollup.command(
    "backfill",
    examples=("metrion rollup backfill", "metrion rollup backfill --since 2026-10-01 --until 2026-10-31"),
)
@options.since_option("40d", note="; whole days")
@click.option("--until", default="", metavar="WHEN", help="End; a date is included as a whole.  [default: now]")
async def backfill(*, since: str, until: str) -> Outcome:
    """Rebuild the rollup from the requests.

    Use it after restoring or deleting rows by hand. Days are replaced one by
    one; queries see either the old or the new figures of a day.
    """
    from services.cli import clickhouse, servers
    from shared import rollup as usage_rollup
    from shared import rollup_days

    zone = periods.zone("UTC")
    now = datetime.now(UTC)
    start = periods.since(since, tz=zone, now=now)
    end = periods.until(until, tz=zone, now=now) if until else now + timedelta(minutes=15)
    if start >= end:
        raise periods.BadTime("the period is empty: --since must be before --until")
    async with clickhouse.connection(servers.for_changes(os.environ), patience=PATIENCE) as client:
        count = await usage_rollup.backfill(client, since=start, until=end)
        await rollup_days.backfill(client, since=start, until=end)
    what = output.plural(count, "quarter hour")
    return Outcome(note=f"Rebuilt {what}, starting {start:%Y-%m-%d}.")
