"""Stores the daily costs that a provider reports, for the export in FOCUS."""

from datetime import UTC, date, datetime
from decimal import Decimal

from clickhouse_connect.driver.asyncclient import AsyncClient

from services.cli.errors import Refused
from services.cli.provider_reports import Report

TABLE = "metrion.reported_costs"
_DIGITS = Decimal("1e-12")  # of the column


def by_day(report: Report, *, today: date) -> dict[date, Decimal]:
    """Sum the reported costs by day of UTC; Refused if they are not whole.

    Days that are not over, and days for which no cost is stated, are left out: their costs are yet to come.
    """
    if report.is_truncated:
        raise Refused("a file is incomplete; costs are saved from whole reports only")
    days: dict[date, Decimal] = {}
    for line in report.lines:
        if line.cost is not None and line.day < today:
            days[line.day] = days.get(line.day, Decimal(0)) + line.cost
    if not days:
        raise Refused("the report states no costs of a day that is over; nothing to save")
    return {day: cost.quantize(_DIGITS) for day, cost in sorted(days.items())}


async def save(client: AsyncClient, provider: str, days: dict[date, Decimal], *, by: str) -> None:
    """Store the costs of days, in place of those saved before."""
    saved_at = datetime.now(UTC)
    rows = [(provider, day, cost, saved_at, by) for day, cost in days.items()]
    await client.insert(TABLE, rows, column_names=("provider", "day", "cost", "saved_at", "by"))
