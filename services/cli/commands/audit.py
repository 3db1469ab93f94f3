"""The command `audit`: administrative changes, newest first."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import click

from services.cli import options, output, periods
from services.cli.options import Command
from services.cli.outcome import Outcome
from shared.events import AUDIT_AREAS

if TYPE_CHECKING:
    from shared.audit import Record

COLUMNS = ("at", "by", "via", "from", "area", "action", "subject", "account", "details")
SHOWN = ("at", "by", "from", "change", "subject", "account")


@click.command(
    "audit",
    cls=Command,
    examples=(
        "metrion audit",
        "metrion audit --area token --since 7d",
        "metrion audit --by ann@example.com --json",
    ),
)
@options.since_option("30d")
@click.option("--by", default="", metavar="NAME", help="Only changes by this user.")
@click.option("--area", type=click.Choice(AUDIT_AREAS), metavar="AREA", help=f"Only {', '.join(AUDIT_AREAS)}.")
@click.option("--wide", is_flag=True, help="Show all columns, wider than 80 characters.")
@options.json_option
async def audit(*, since: str, by: str, area: str | None, wide: bool, as_json: bool) -> Outcome:
    """List administrative changes, newest first."""
    from services.cli import nats_connection
    from shared import audit as audit_records

    start = periods.since(since, tz=ZoneInfo("UTC"), now=datetime.now(UTC))
    async with nats_connection.jetstream() as js:
        records = await audit_records.read(js, area=area or "", since=start)
    chosen = [record for record in records if by in ("", record.by)]
    if as_json:
        return Outcome(output.as_json([dict(zip(COLUMNS, _values(record), strict=True)) for record in chosen]))
    if not chosen:
        return Outcome(note="No events.")
    if wide:
        rows = [(*_values(record)[:-1], " ".join(f"{k}={v}" for k, v in record.details.items())) for record in chosen]
        return Outcome(output.as_table(COLUMNS, rows))
    return Outcome(output.as_table(SHOWN, [_brief(record) for record in chosen]))


def _brief(record: "Record") -> tuple[object, ...]:
    change = f"{record.area} {record.action}"
    return record.at, record.by, record.address, change, record.subject, record.account


def _values(record: "Record") -> tuple[object, ...]:
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
