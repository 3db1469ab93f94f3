"""The command `audit`: who changed what, when and from where, newest first."""

from argparse import Namespace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from services.cli import periods, tables
from services.cli.connections import jetstream
from services.cli.outcome import Outcome
from shared import audit

COLUMNS = ("at", "by", "via", "from", "area", "action", "subject", "account", "details")


async def listing(options: Namespace) -> Outcome:
    since = periods.since(options.since, tz=ZoneInfo("UTC"), now=datetime.now(UTC))
    async with jetstream() as js:
        found = await audit.read(js, area=options.area, since=since)
    chosen = [record for record in found if options.by in ("", record.by)]
    if options.json:
        return Outcome(tables.as_json([dict(zip(COLUMNS, _values(record), strict=True)) for record in chosen]))
    rows = [(*_values(record)[:-1], " ".join(f"{k}={v}" for k, v in record.details.items())) for record in chosen]
    return Outcome(tables.as_table(COLUMNS, rows))


def _values(record: audit.Record) -> tuple[object, ...]:
    return (
        record.at,
        record.by,
        record.via,
        record.address,
        record.area,
        record.action,
        record.subject,
        record.account,
        record.details,
    )
