"""The command `report`: requests, tokens and cost by requester, model, day …"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import click

from services.cli import options, output, periods, report_dimensions
from services.cli.options import Command
from services.cli.outcome import Outcome

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
        "metrion report --by metadata:project,model --month 2026-11",
        "metrion report --by day --since 2026-11-01 --tz Europe/Zurich",
        "metrion report --account team-a --csv > team-a.csv",
        "metrion report --since 1h --watch",
    ),
)
@click.option(
    "--by",
    multiple=True,
    default=("requester",),
    metavar="NAME[,NAME]",
    shell_complete=lambda ctx, param, text: report_dimensions.completed(text),
    help="Group by one or two of those listed above.  [default: requester]",
)
@options.month_option
@options.period_options()
@options.account_filter
@options.limit_option(100, "Maximum number of rows; totals cover all.")
@click.option("--wide", is_flag=True, help="Show all columns, wider than 80 characters.")
@options.watch_option
@options.format_options
async def report(
    *,
    by: tuple[str, ...],
    since: str,
    until: str,
    month: str,
    tz: str,
    account: str,
    limit: int,
    wide: bool,
    watch: float | None,
    as_json: bool,
    as_csv: bool,
) -> Outcome:
    """Show requests, tokens and cost by user, model or day.

    Group by account, token, requester, provider, model, endpoint, status,
    client, agent, session, billing, day, month or metadata:KEY.

    A requester is the value of the header x-metrion-user. Latency is the mean
    of successful, uncached responses. JSON and CSV have every column and every
    digit.
    """
    from services.cli import clickhouse, lookup

    dimensions = report_dimensions.parse(by)
    names = tuple(filter(None, dimensions))
    zone = periods.zone(tz)
    start, end = periods.span(since, until, month=month, tz=zone, now=datetime.now(UTC))
    chosen = {"tz": tz, "by": dimensions[0], "also": dimensions[1], "account": account}
    period = {"since": clickhouse.timestamp(start), "until": clickhouse.timestamp(end), **chosen}
    rows, (total,) = await clickhouse.query(("report", {**period, "limit": limit}), ("report_totals", period))
    if not rows:
        await lookup.require_recorded_account(account)
    if as_json:
        head = {"since": start.astimezone(zone), "until": end.astimezone(zone), "tz": tz, "by": ",".join(names)}
        return Outcome(_json({**head, "account": account or None}, names, rows, total))
    if as_csv:
        return Outcome(_csv([report_dimensions.heading(name, tz=tz) for name in names], rows))
    if not rows:
        return Outcome(note=f"No requests in this period: {periods.printed(start, end, tz=zone)}.", again_in=watch)
    table = (_wide if wide else _narrow)(names, rows, total, title=periods.printed(start, end, tz=zone))
    return Outcome(table, note=_notes(rows, total, wide=wide), again_in=watch)


def _keys(names: Sequence[str], row: Row) -> tuple[str, ...]:
    return (row["key"], row["also_key"])[: len(names)]


def _narrow(names: Sequence[str], rows: list[Row], total: Row, *, title: str) -> str:
    def cells(row: Row) -> tuple[Any, ...]:
        tokens = (row["input_sum"] or 0) + (row["output_sum"] or 0)
        share = output.share(row["cost_sum"], total["cost_sum"])
        return row["requests"], row["errors"], tokens, row["cost_sum"], share

    return _table((*names, *SHOWN), names, rows, total, cells=cells, title=title)


def _wide(names: Sequence[str], rows: list[Row], total: Row, *, title: str) -> str:
    every = FIGURES | CACHE_FIGURES
    headings = (*names, *(HEADINGS.get(figure, name) for figure, name in every.items()))
    return _table(headings, names, rows, total, cells=lambda row: tuple(row[figure] for figure in every), title=title)


def _table(
    headings: Sequence[str],
    names: Sequence[str],
    rows: list[Row],
    total: Row,
    *,
    cells: Callable[[Row], tuple[Any, ...]],
    title: str,
) -> str:
    lines = [(*(key or output.NOT_SET for key in _keys(names, row)), *cells(row)) for row in rows]
    foot = ("total", *[""] * (len(names) - 1), *cells(total))
    return output.as_table(headings, lines, total=foot, title=title)


def _csv(headings: Sequence[str], rows: list[Row]) -> str:
    every = FIGURES | CACHE_FIGURES
    lines = [(*_keys(headings, row), *(row[figure] for figure in every)) for row in rows]
    return output.as_csv((*headings, *every.values()), lines)


def _json(head: dict[str, Any], names: Sequence[str], rows: list[Row], total: Row) -> str:
    columns = {column: name.replace(" ", "_").lower() for column, name in (FIGURES | CACHE_FIGURES).items()}

    def figures(row: Row) -> Row:
        return {name: row[column] for column, name in columns.items()}

    return output.as_json(
        {
            **head,
            "rows": [{**dict(zip(names, _keys(names, row), strict=True)), **figures(row)} for row in rows],
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
            f"Requests of subscriptions cost nothing by themselves; at API prices, they would have cost {worth}."
        )
    if wide:
        notes.append("Latency is the mean of successful, uncached responses.")
    return " ".join(notes)
