"""The command `report`: requests, tokens and cost, by group."""

from argparse import Namespace
from datetime import UTC, datetime
from typing import Any

from services.cli import books, periods, tables
from services.cli.outcome import Outcome

FIGURES = {  # column of the SQL → name in print
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
CACHE_FIGURES = {  # in CSV and JSON: a table would get too wide
    "cache_read_sum": "cache read tokens",
    "cache_write_sum": "cache write tokens",
    "cache_write_1h_sum": "cache write 1h tokens",
    "cache_hits": "cache hits",
    "cost_saved_sum": "saved USD",
}


async def report(options: Namespace) -> Outcome:
    """Requests, tokens and cost by requester, model, provider, token or day."""
    tz, now = periods.zone(options.tz), datetime.now(UTC)
    since, until = periods.span(options.since, options.until, tz=tz, now=now)
    chosen = {"tz": options.tz, "by": options.by, "account": options.account}
    period = {"since": books.moment(since), "until": books.moment(until), **chosen}
    rows, (total,) = await books.ask(("report", {**period, "limit": options.limit}), ("report_totals", period))
    if options.json:
        return Outcome(_report_json(options, rows, total, since=since.astimezone(tz), until=until.astimezone(tz)))
    head = f"{options.by} ({options.tz})" if options.by == "day" else options.by
    columns = (head, *FIGURES.values())
    if options.csv:
        every = FIGURES | CACHE_FIGURES
        lines = [(row["key"], *(row[figure] for figure in every)) for row in rows]
        return Outcome(tables.as_csv((head, *every.values()), lines))
    cells = [(row["key"], *(row[figure] for figure in FIGURES)) for row in rows]
    title = periods.printed(since, until, tz=tz)
    foot = (
        ("total", *(total[figure] for figure in FIGURES))
        if total["requests"]
        else ("total", 0, 0, 0, 0, 0, 0, 0, 0, "–")
    )
    shown = [(row[0] or "(none)", *row[1:]) for row in cells]
    note = f"{len(rows)} of {total['groups']} shown; more with --limit" if len(rows) < total["groups"] else ""
    return Outcome(tables.as_table(columns, shown, total=foot, title=title), note=note)


def _report_json(
    options: Namespace, rows: list[dict[str, Any]], total: dict[str, Any], *, since: datetime, until: datetime
) -> str:
    names = {column: name.replace(" ", "_").lower() for column, name in (FIGURES | CACHE_FIGURES).items()}

    def figures(row: dict[str, Any]) -> dict[str, Any]:
        return {name: row[column] for column, name in names.items()}

    return tables.as_json(
        {
            "since": since,
            "until": until,
            "tz": options.tz,
            "by": options.by,
            "account": options.account or None,
            "rows": [{options.by: row["key"], **figures(row)} for row in rows],
            "groups": total["groups"],
            "total": figures(total),
        }
    )
