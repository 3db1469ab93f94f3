"""The command `rollup backfill`: a period in, its usage by quarter of an hour computed anew."""

import os
from argparse import Namespace
from datetime import UTC, datetime, timedelta

from services.cli import books, connections, periods
from services.cli.outcome import Outcome
from shared import rollup

PATIENCE = 3600.0  # seconds for one statement


async def backfill(options: Namespace) -> Outcome:
    """Day by day; what reads meanwhile sees each day's old figures or its new ones."""
    zone, now = periods.zone("UTC"), datetime.now(UTC)
    since = periods.since(options.since, tz=zone, now=now)
    until = periods.until(options.until, tz=zone, now=now) if options.until else now + timedelta(minutes=15)
    if since >= until:
        raise periods.BadTime("the period is empty: --since is not before --until")
    async with books.opened(connections.for_changes(os.environ), patience=PATIENCE) as client:
        count = await rollup.backfill(client, since=since, until=until)
    return Outcome(note=f"{count} quarters of an hour computed anew, from {since:%Y-%m-%d} on.")
