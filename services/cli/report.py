"""The commands `report` and `completeness`: arguments in, figures from ClickHouse out."""

import os
from argparse import Namespace
from datetime import UTC, datetime, timedelta
from typing import Any

from services.cli import connections, periods, tables
from services.cli.outcome import Outcome
from shared import clickhouse

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
COMPLETENESS = ("gateway", "spool", "epoch", "sent", "stored", "dropped", "missing", "duplicated")
_NO_TABLES = (60, 81)  # ClickHouse: unknown table, unknown database


async def report(options: Namespace) -> Outcome:
    """Requests, tokens and cost by requester, model, provider, token or day."""
    tz, now = periods.zone(options.tz), datetime.now(UTC)
    since = periods.since(options.since, tz=tz, now=now)
    until = periods.until(options.until, tz=tz, now=now) if options.until else now + timedelta(minutes=1)
    if since >= until:
        raise periods.BadTime("the period is empty: --since is not before --until")
    period = {"since": since, "until": until, "tz": options.tz, "by": options.by, "account": options.account}
    rows, (total,) = await _ask(("report", {**period, "limit": options.limit}), ("report_totals", period))
    if options.json:
        return Outcome(_report_json(options, rows, total, since=since.astimezone(tz), until=until.astimezone(tz)))
    head = f"{options.by} ({options.tz})" if options.by == "day" else options.by
    columns = (head, *FIGURES.values())
    cells = [(row["key"], *(row[figure] for figure in FIGURES)) for row in rows]
    if options.csv:
        return Outcome(tables.as_csv(columns, cells))
    title = f"{since.astimezone(tz):%Y-%m-%d %H:%M} to {until.astimezone(tz):%Y-%m-%d %H:%M}, {options.tz}"
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
    names = {column: name.replace(" ", "_").lower() for column, name in FIGURES.items()}

    def figures(row: dict[str, Any]) -> dict[str, Any]:
        return {names[column]: row[column] for column in FIGURES}

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


async def completeness(options: Namespace) -> Outcome:
    """Whether ClickHouse holds every event that the gateways numbered; status 1 when it does not."""
    since = periods.since(options.since, tz=periods.zone("UTC"), now=datetime.now(UTC))
    (rows,) = await _ask(("completeness", {"since": since}))
    gaps = {name: sum(int(row[name]) for row in rows) for name in ("missing", "dropped", "duplicated")}
    whole = not any(gaps.values())
    if options.json:
        text = tables.as_json({"complete": whole, **gaps, "instances": rows})
    else:
        text = tables.as_table(COMPLETENESS, [tuple(row[column] for column in COMPLETENESS) for row in rows])
    said = ", ".join(f"{count} {name}" for name, count in gaps.items() if count)
    note = "Complete: every numbered event is stored once." if whole else f"Not complete: {said}."
    if not rows:
        note = "No gateway has reported in this period."
    return Outcome(text, note=note, status=0 if whole else 1)


async def _ask(*questions: tuple[str, dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The answers in the order of the questions; Unavailable with one line when ClickHouse cannot give them."""
    url = connections.address(connections.CLICKHOUSE, os.environ)
    where = f"ClickHouse at {connections.place(url)}"
    try:
        client = await clickhouse.connect(url, service="cli")
        try:
            return [await clickhouse.ask(client, question, **parameters) for question, parameters in questions]
        finally:
            await client.close()
    except clickhouse.Failed as error:
        code = getattr(error, "code", None)
        if code in _NO_TABLES:
            raise connections.Unavailable(f"{where} has no tables yet; start the logger once, it makes them") from None
        if isinstance(error, clickhouse.Unreachable) and not code:
            raise connections.Unavailable(f"{where} does not answer ({type(error).__name__})") from None
        raise connections.Unavailable(f"{where} refuses the question (code {code or type(error).__name__})") from None
    except ValueError:
        raise connections.Unavailable(
            f"{connections.CLICKHOUSE} is no URL like http://user:password@host:8123"
        ) from None
