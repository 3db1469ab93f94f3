"""The command `statement`: the cost of an account in a month."""

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import click

from services.cli import options, output, periods
from services.cli.options import Command
from services.cli.outcome import Outcome

SECTIONS = {"model": ("provider", "model"), "requester": ("requester",)}  # section → name columns of its lines
_EQUIVALENT = "equivalent_usd"  # only shown where there are subscriptions
_NAMES = ("account", "section", "provider", "model", "requester")

Row = dict[str, Any]


@click.command(
    "statement",
    cls=Command,
    examples=(
        "metrion statement --account team-a --month 2026-11",
        "metrion statement --account team-a --month 2026-11 --tz Europe/Zurich --json",
    ),
)
@click.option("--month", required=True, metavar="MONTH", help="Calendar month, e.g. 2026-11.")
@click.option("--account", required=True, metavar="NAME", help="Account to bill.")
@click.option(
    "--tz", default="UTC", metavar="ZONE", show_default=True, help="Time zone of the month, e.g. Europe/Zurich."
)
@options.format_options
async def statement(*, month: str, account: str, tz: str, as_json: bool, as_csv: bool) -> Outcome:
    """Show what an account owes for a month.

    Lists cost by model and by requester; both add up to the same total.
    """
    from services.cli import clickhouse, lookup

    zone = periods.zone(tz)
    since, until = periods.of_month(month, tz=zone)
    period = {"since": clickhouse.timestamp(since), "until": clickhouse.timestamp(until), "account": account}
    (rows,) = await clickhouse.query(("statement", period))
    if not rows:
        await lookup.require_recorded_account(account)
    if as_json:
        head = {"account": account, "month": month, "tz": tz}
        times = {"since": since.astimezone(zone), "until": until.astimezone(zone)}
        return Outcome(_json({**head, **times}, rows))
    if not rows:
        return Outcome(note=f"Account {account} has no requests in {month}.")
    if as_csv:
        return Outcome(output.as_csv(tuple(rows[0]), [tuple(row.values()) for row in rows]))
    head_line = f"Account {account}, {periods.printed(since, until, tz=zone)}"
    text = "\n".join(_section(rows, section, title=f"{head_line}\nby {section}") for section in SECTIONS)
    return Outcome(text, note=_notes(rows, running=until > datetime.now(UTC), tz=zone))


def _section(rows: list[Row], section: str, *, title: str) -> str:
    names = SECTIONS[section]
    total = _total(rows)
    figures = [name for name in rows[0] if name not in _NAMES and (name != _EQUIVALENT or total[name])]
    lines = [
        (*(row[name] or output.NOT_SET for name in names), *(row[figure] for figure in figures))
        for row in rows
        if row["section"] == section
    ]
    foot = ("total", *("" for _ in names[1:]), *(total[figure] for figure in figures))
    return output.as_table((*names, *figures), lines, total=foot, title=title)


def _total(rows: list[Row]) -> Row:
    (total,) = (row for row in rows if row["section"] == "total")
    return total


def _notes(rows: list[Row], *, running: bool, tz: ZoneInfo) -> str:
    total = _total(rows)
    notes = []
    if running:
        notes.append(f"The month is not over in {tz.key}: the figures are preliminary.")
    if total["unpriced"]:
        count = output.plural(total["unpriced"], "request")
        notes.append(f"The cost excludes {count} of unknown cost (see: metrion query unpriced_models).")
    if total["estimated_usd"]:
        notes.append(f"{output.dollars(total['estimated_usd'])} of the cost is estimated.")
    return " ".join(notes)


def _json(head: dict[str, Any], rows: list[Row]) -> str:
    def lines(section: str, names: tuple[str, ...]) -> list[Row]:
        hidden = set(_NAMES) - set(names)
        return [
            {name: value for name, value in row.items() if name not in hidden}
            for row in rows
            if row["section"] == section
        ]

    return output.as_json(
        {
            **head,
            "total": next(iter(lines("total", ())), None),
            **{f"by_{section}": lines(section, names) for section, names in SECTIONS.items()},
        }
    )
