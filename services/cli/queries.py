"""The commands `query` and `statement`: the name of a ready question or a month in, its answer from ClickHouse out."""

import re
from argparse import Namespace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from services.cli import books, periods, tables
from services.cli.outcome import Outcome
from services.cli.parser_books import READY
from shared import clickhouse

SECTIONS = {"model": ("provider", "model"), "requester": ("requester",)}  # section of a statement → its lines' names
_PARAMETER = re.compile(r"\{(\w+):")


async def query(options: Namespace) -> Outcome:
    """The answer to a ready question; without a name, what can be asked."""
    if not options.name:
        questions = [(name, question(name)) for name in READY]
        return Outcome(
            tables.as_table(("name", "question"), questions), note="metrion query NAME --sql prints a question's SQL"
        )
    if options.sql:
        return Outcome(clickhouse.text(options.name) + ";\n")
    tz = periods.zone(options.tz)
    since, until = periods.span(options.since, options.until, tz=tz, now=datetime.now(UTC))
    given = {
        "since": books.moment(since),
        "until": books.moment(until),
        "tz": options.tz,
        "account": options.account,
        "key": options.key,
        "limit": options.limit,
    }
    (rows,) = await books.ask((options.name, {name: given[name] for name in parameters(options.name)}))
    if options.json:
        period = {"since": since.astimezone(tz), "until": until.astimezone(tz), "tz": options.tz}
        return Outcome(tables.as_json({"query": options.name, **period, "rows": rows}))
    if not rows:
        return Outcome(note="Nothing was booked in this period.")
    columns, cells = tuple(rows[0]), [tuple(row.values()) for row in rows]
    if options.csv:
        return Outcome(tables.as_csv(columns, cells))
    title = f"{question(options.name)}\n{periods.printed(since, until, tz=tz)}"
    return Outcome(tables.as_table(columns, cells, title=title))


def question(name: str) -> str:
    """What a ready query answers, in the words of its file."""
    return clickhouse.text(name).split("?", 1)[0].removeprefix("-- ") + "?"


def parameters(name: str) -> set[str]:
    """What a query wants to be told."""
    return set(_PARAMETER.findall(clickhouse.text(name)))


async def statement(options: Namespace) -> Outcome:
    """What an account owes for a month, by model and by requester."""
    tz = periods.zone(options.tz)
    since, until = periods.month(options.month, tz=tz)
    period = {"since": books.moment(since), "until": books.moment(until), "account": options.account}
    (rows,) = await books.ask(("statement", period))
    running = until > datetime.now(UTC)
    if options.json:
        return Outcome(_statement_json(options, rows, since=since.astimezone(tz), until=until.astimezone(tz)))
    if not rows:
        return Outcome(note=f"Account {options.account} has no requests in {options.month}.")
    if options.csv:
        return Outcome(tables.as_csv(tuple(rows[0]), [tuple(row.values()) for row in rows]))
    head = f"Account {options.account}, {periods.printed(since, until, tz=tz)}"
    text = "\n".join(_section(rows, section, title=f"{head}\nby {section}") for section in SECTIONS)
    return Outcome(text, note=_remarks(rows, running=running, tz=tz))


def _section(rows: list[dict[str, Any]], section: str, *, title: str) -> str:
    names = SECTIONS[section]
    figures = [name for name in rows[0] if name not in ("account", "section", "provider", "model", "requester")]
    lines = [
        (*(row[name] or "(none)" for name in names), *(row[figure] for figure in figures))
        for row in rows
        if row["section"] == section
    ]
    (total,) = (row for row in rows if row["section"] == "total")
    foot = ("total", *("" for _ in names[1:]), *(total[figure] for figure in figures))
    return tables.as_table((*names, *figures), lines, total=foot, title=title)


def _remarks(rows: list[dict[str, Any]], *, running: bool, tz: ZoneInfo) -> str:
    (total,) = (row for row in rows if row["section"] == "total")
    said = []
    if running:
        said.append(f"The month is not over in {tz.key}.")
    if total["unpriced"]:
        said.append(
            f"Without a known cost, not in the sum: {total['unpriced']} requests (metrion query unpriced_models)."
        )
    if total["estimated_usd"]:
        said.append(f"{tables.exact(total['estimated_usd'])} USD of it rest on estimated usage.")
    return " ".join(said)


def _statement_json(options: Namespace, rows: list[dict[str, Any]], *, since: datetime, until: datetime) -> str:
    def lines(section: str, names: tuple[str, ...]) -> list[dict[str, Any]]:
        hidden = {"account", "section", "provider", "model", "requester"} - set(names)
        return [
            {name: value for name, value in row.items() if name not in hidden}
            for row in rows
            if row["section"] == section
        ]

    return tables.as_json(
        {
            "account": options.account,
            "month": options.month,
            "tz": options.tz,
            "since": since,
            "until": until,
            "total": next(iter(lines("total", ())), None),
            **{f"by_{section}": lines(section, names) for section, names in SECTIONS.items()},
        }
    )
