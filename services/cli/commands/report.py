"""The command `report`: requests, tokens and cost by requester, model, day …"""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import click

from services.cli import options, output, periods
from services.cli.options import Command
from services.cli.outcome import Outcome

BY = ("requester", "model", "provider", "token", "client", "agent", "session", "day")
FIGURES = {  # column of the SQL → column of CSV
    "requests": "requests",
    "errors": "errors",
    "input_sum": "input tokens",
    "output_sum": "output tokens",
    "cost_sum": "cost USD",
    "unpriced": "unpriced requests",
    "estimated": "estimated requests",
    "estimated_cost": "estimated USD",
    "latency": "avg latency ms",
}
CACHE_FIGURES = {
    "cache_read_sum": "cache read tokens",
    "cache_write_sum": "cache write tokens",
    "cache_write_1h_sum": "cache write 1h tokens",
    "cache_hits": "cache hits",
    "cost_saved_sum": "saved USD",
    "equivalent_sum": "API equivalent USD",
}
HEADINGS = {  # where the table's heading differs from CSV
    "cost_sum": "cost",
    "unpriced": "cost unknown",
    "estimated": "estimated",
    "estimated_cost": "estimated cost",
    "latency": "mean latency ms",
    "cost_saved_sum": "saved",
    "equivalent_sum": "API equivalent",
}
SHOWN = ("requests", "errors", "tokens", "cost", "share")

Row = dict[str, Any]


@click.command(
    "report",
    cls=Command,
    examples=(
        "metrion report",
        "metrion report --by model --since 30d",
        "metrion report --by day --since 2026-11-01 --tz Europe/Zurich",
        "metrion report --account team-a --csv > team-a.csv",
    ),
)
@click.option("--by", type=click.Choice(BY), default="requester", show_default=True, help="Group by.")
@options.period_options()
@options.account_filter
@options.limit_option(100, "Maximum number of rows; totals cover all.")
@click.option("--wide", is_flag=True, help="Show every column; more than 80 characters.")
@options.format_options
async def report(
    *,
    by: str,
    since: str,
    until: str,
    tz: str,
    account: str,
    limit: int,
    wide: bool,
    as_json: bool,
    as_csv: bool,
) -> Outcome:
    """Show requests, tokens and cost by user, model or day.

    A requester is the value of the header x-metrion-user. Latency is the mean
    of successful, uncached responses. JSON and CSV have every column and every
    digit.
    """
    from services.cli import clickhouse, lookup

    zone = periods.zone(tz)
    start, end = periods.span(since, until, tz=zone, now=datetime.now(UTC))
    chosen = {"tz": tz, "by": by, "account": account}
    period = {"since": clickhouse.timestamp(start), "until": clickhouse.timestamp(end), **chosen}
    rows, (total,) = await clickhouse.query(("report", {**period, "limit": limit}), ("report_totals", period))
    if not rows:
        await lookup.require_recorded_account(account)
    if as_json:
        head = {"since": start.astimezone(zone), "until": end.astimezone(zone), "tz": tz, "by": by}
        return Outcome(_json({**head, "account": account or None}, rows, total))
    if as_csv:
        return Outcome(_csv(rows, heading=f"day ({tz})" if by == "day" else by))
    if not rows:
        return Outcome(note=f"No requests in this period: {periods.printed(start, end, tz=zone)}.")
    table = (_wide if wide else _narrow)(by, rows, total, title=periods.printed(start, end, tz=zone))
    return Outcome(table, note=_notes(rows, total, wide=wide))


def _narrow(by: str, rows: list[Row], total: Row, *, title: str) -> str:
    def cells(row: Row) -> tuple[Any, ...]:
        tokens = (row["input_sum"] or 0) + (row["output_sum"] or 0)
        share = output.share(row["cost_sum"], total["cost_sum"])
        return row["requests"], row["errors"], tokens, row["cost_sum"], share

    lines = [(row["key"] or output.NOT_SET, *cells(row)) for row in rows]
    return output.as_table((by, *SHOWN), lines, total=("total", *cells(total)), title=title)


def _wide(by: str, rows: list[Row], total: Row, *, title: str) -> str:
    every = FIGURES | CACHE_FIGURES
    lines = [(row["key"] or output.NOT_SET, *(row[figure] for figure in every)) for row in rows]
    foot = ("total", *(total[figure] for figure in every))
    headings = (by, *(HEADINGS.get(figure, name) for figure, name in every.items()))
    return output.as_table(headings, lines, total=foot, title=title)


def _csv(rows: list[Row], *, heading: str) -> str:
    every = FIGURES | CACHE_FIGURES
    return output.as_csv((heading, *every.values()), [(row["key"], *(row[figure] for figure in every)) for row in rows])


def _json(head: dict[str, Any], rows: list[Row], total: Row) -> str:
    names = {column: name.replace(" ", "_").lower() for column, name in (FIGURES | CACHE_FIGURES).items()}

    def figures(row: Row) -> Row:
        return {name: row[column] for column, name in names.items()}

    return output.as_json(
        {
            **head,
            "rows": [{head["by"]: row["key"], **figures(row)} for row in rows],
            "groups": total["groups"],
            "total": figures(total),
        }
    )


def _notes(rows: list[Row], total: Row, *, wide: bool) -> str:
    """Return notes on omitted rows, unknown and estimated cost, and the mean latency."""
    notes = []
    if len(rows) < total["groups"]:
        notes.append(f"{len(rows):,} of {total['groups']:,} rows shown; use --limit for more.")
    if total["unpriced"]:
        count = output.plural(total["unpriced"], "request")
        notes.append(f"The cost excludes {count} of unknown cost (see: metrion query unpriced_models).")
    if total["estimated_cost"] and total["estimated_cost"] > Decimal(0):
        notes.append(f"{output.dollars(total['estimated_cost'])} of the cost is estimated.")
    if total["equivalent_sum"]:
        worth = output.dollars(total["equivalent_sum"])
        notes.append(
            f"Requests of subscriptions cost nothing by themselves; by API prices they would have cost {worth}."
        )
    if wide:
        notes.append("Latency is the mean of successful, uncached responses.")
    return " ".join(notes)
