"""The command `rollup backfill`: a period in, its usage by quarter of an hour computed anew."""

import os
from argparse import Namespace
from datetime import UTC, datetime, timedelta

from services.cli import connections, periods
from services.cli.outcome import Outcome
from shared import clickhouse, rollup

_DENIED = 497


async def backfill(options: Namespace) -> Outcome:
    """Day by day; what reads meanwhile sees each day's old figures or its new ones."""
    zone, now = periods.zone("UTC"), datetime.now(UTC)
    since = periods.since(options.since, tz=zone, now=now)
    until = periods.until(options.until, tz=zone, now=now) if options.until else now + timedelta(minutes=15)
    if since >= until:
        raise periods.BadTime("the period is empty: --since is not before --until")
    count = await _computed(since, until)
    return Outcome(note=f"{count} quarters of an hour computed anew, from {since:%Y-%m-%d} on.")


async def _computed(since: datetime, until: datetime) -> int:
    url = connections.address(connections.CLICKHOUSE, os.environ)
    where = f"ClickHouse at {connections.place(url)}"
    try:
        client = await clickhouse.connect(url, service="cli")
        try:
            return await rollup.backfill(client, since=since, until=until)
        finally:
            await client.close()
    except clickhouse.Failed as error:
        code = getattr(error, "code", None)
        if code == _DENIED:
            raise connections.Unavailable(
                f"{where}: this user only reads; name one that writes, as the logger's, in {connections.CLICKHOUSE}"
            ) from None
        raise connections.Unavailable(f"{where} failed ({f'code {code}' if code else type(error).__name__})") from None
