"""The command `query`: runs, lists or prints built-in SQL queries."""

import re
from datetime import UTC, datetime

import click

from services.cli import options, output, periods
from services.cli.options import Command
from services.cli.outcome import Outcome

QUERIES = (  # files of shared/queries
    "cost_by_requester_day",
    "cost_by_requester_model",
    "cost_by_metadata",
    "sessions",
    "prompt_cache",
    "top_movers",
    "cost_of_failures",
    "cache_savings",
    "cache_candidates",
    "usage_by_hour",
    "latency_by_model",
    "unpriced_models",
    "statement",
    "completeness",
)
_PARAMETER = re.compile(r"\{(\w+):")


@click.command(
    "query",
    cls=Command,
    examples=(
        "metrion query",
        "metrion query top_movers --since 30d",
        "metrion query cost_of_failures --month 2026-11",
        "metrion query sessions --since 7d --limit 10",
        "metrion query cost_by_metadata --key project --csv > projects.csv",
        "metrion query latency_by_model --sql",
    ),
)
@click.argument("name", required=False, metavar="[NAME]", type=click.Choice(QUERIES))
@options.month_option
@options.period_options()
@options.account_filter
@click.option("--key", default="", metavar="KEY", help="cost_by_metadata: only this key.  [default: each]")
@options.limit_option(20, "For a list such as sessions: number of rows.")
@click.option("--sql", is_flag=True, help="Print the SQL, for clickhouse-client.")
@options.watch_option
@options.format_options
async def query(
    *,
    name: str | None,
    since: str,
    until: str,
    month: str,
    tz: str,
    account: str,
    key: str,
    limit: int,
    sql: bool,
    watch: float | None,
    as_json: bool,
    as_csv: bool,
) -> Outcome:
    """Run, list or print built-in SQL queries.

    Without NAME, lists them.
    """
    from services.cli import clickhouse, lookup

    if name is None:
        return _list(as_json=as_json, as_csv=as_csv)
    if sql:
        return Outcome(clickhouse.text(name) + ";\n")
    zone = periods.zone(tz)
    start, end = periods.span(since, until, month=month, tz=zone, now=datetime.now(UTC))
    values = {
        "since": clickhouse.timestamp(start),
        "until": clickhouse.timestamp(end),
        "tz": tz,
        "account": account,
        "key": key,
        "limit": limit,
    }
    (rows,) = await clickhouse.query((name, {parameter: values[parameter] for parameter in parameters(name)}))
    if not rows:
        await lookup.require_recorded_account(account)
    if as_json:
        period = {"since": start.astimezone(zone), "until": end.astimezone(zone), "tz": tz}
        return Outcome(output.as_json({"query": name, **period, "rows": rows}))
    if not rows:
        return Outcome(note="No requests in this period.", again_in=watch)
    columns = tuple(rows[0])
    cells = [tuple(row.values()) for row in rows]
    if as_csv:
        return Outcome(output.as_csv(columns, cells))
    title = f"{question(name)}\n{periods.printed(start, end, tz=zone)}"
    return Outcome(output.as_table(columns, cells, title=title), again_in=watch)


def _list(*, as_json: bool, as_csv: bool) -> Outcome:
    columns = ("name", "question")
    rows = [(name, question(name)) for name in QUERIES]
    if as_json:
        return Outcome(output.as_json([dict(zip(columns, row, strict=True)) for row in rows]))
    if as_csv:
        return Outcome(output.as_csv(columns, rows))
    return Outcome(output.as_table(columns, rows), note="metrion query NAME --sql prints a query's SQL.")


def question(name: str) -> str:
    """Return the question that a query answers: the first line of its file."""
    from services.cli import clickhouse

    return clickhouse.text(name).split("?", 1)[0].removeprefix("-- ") + "?"


def parameters(name: str) -> set[str]:
    """Return the names of a query's parameters."""
    from services.cli import clickhouse

    return set(_PARAMETER.findall(clickhouse.text(name)))
