"""The command `reprice`: recalculates past costs and writes new row versions."""

import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from services.cli import confirm, lookup, options, output, periods, servers
from services.cli.errors import Refused
from services.cli.options import Command
from services.cli.outcome import Outcome

if TYPE_CHECKING:
    import uuid

    from clickhouse_connect.driver.asyncclient import AsyncClient

    from services.cli.repricing import Tally
    from shared.pricing.cost import CostColumns
    from shared.pricing.table import Table

PAGE = 5000  # rows in memory at a time, each with its raw usage
STRIDE = timedelta(days=1)  # the period of one query
PATIENCE = 600.0
COLUMNS = {
    "requests": "requests",
    "changed": "changed",
    "newly_priced": "newly priced",
    "newly_unknown": "newly unknown",
    "before": "before USD",
    "after": "after USD",
    "difference": "difference USD",
}

Row = dict[str, Any]


class Selection(NamedTuple):
    """The requests to reprice; "" means all."""

    since: datetime
    until: datetime
    account: str
    provider: str
    model: str  # * is a wildcard


@click.command(
    "reprice",
    cls=Command,
    examples=(
        "metrion reprice --since 30d --dry-run",
        "metrion reprice --since 2026-11-01 --model 'gpt-4o*' --prices contract.toml",
    ),
)
@options.period_options(default=None)
@options.account_filter
@click.option("--provider", default="", metavar="NAME", help="Only this provider.  [default: all]")
@click.option("--model", default="", metavar="NAME", help="Only this model: gpt-4o, gpt-*.  [default: all]")
@click.option(
    "--prices", default="", metavar="FILE", help="Prices over the built-in ones.  [default: METRION_PRICES_FILE]"
)
@click.option("--note", default="", metavar="TEXT", help="Reason, kept in metrion.repricings.")
@options.json_option
@options.confirm_options
async def reprice(
    *,
    since: str,
    until: str,
    tz: str,
    account: str,
    provider: str,
    model: str,
    prices: str,
    note: str,
    as_json: bool,
    dry_run: bool,
    yes: bool,
) -> Outcome:
    """Recalculate past costs with current prices.

    Shows what would change, asks, then writes new versions of the changed
    requests.
    """
    from services.cli import clickhouse

    table = lookup.price_table(prices)
    start, end = periods.span(since, until, tz=periods.zone(tz), now=datetime.now(UTC))
    chosen = Selection(since=start, until=end, account=account, provider=provider, model=model)
    is_dry_run = confirm.is_dry_run(dry_run=dry_run, yes=yes)
    address = servers.CLICKHOUSE if is_dry_run else servers.for_changes(os.environ)
    async with clickhouse.connection(address, patience=PATIENCE) as client:
        expected = await _examined(client, chosen, table)
        changed = expected.total.changed
        if not expected.total.requests:
            await lookup.require_recorded_account(account)
        if is_dry_run or not changed:
            text = "Dry run: nothing was written. Add --yes to write." if changed else "Nothing would change."
            return Outcome(_report(expected, table, as_json=as_json), note=text)
        question = f"Write new versions of {output.plural(changed, 'request')}?"
        shown = _report(expected, table, as_json=False)
        if not await confirm.confirmed(f"{shown}\n{question}", yes=yes):
            return Outcome(note="Nothing was written.", status=1)
        done, identity = await _written(client, chosen, table, note=note)
    return Outcome(_report(done, table, as_json=as_json), note=await _recorded(done, identity, chosen, since=since))


async def _recorded(done: "Tally", identity: "uuid.UUID", chosen: Selection, *, since: str) -> str:
    """Record the change in the audit log; returns the note about it."""
    from services.cli import audit_log

    changed = done.total.changed
    details = {"repricing": str(identity), "since": since, "changed": str(changed)}
    warning = await audit_log.connect_and_record(
        "prices", "reprice", chosen.model, account=chosen.account, details=details
    )
    return f"{changed:,} new versions written, repricing {identity}; see metrion.repricings.{warning}"


async def _examined(client: "AsyncClient", chosen: Selection, table: "Table") -> "Tally":
    from services.cli.repricing import Tally, again

    tally = Tally()
    async for page in _pages(client, chosen):
        try:
            for row in page:
                tally.add(row, again(row, table))
        except ArithmeticError:
            raise Refused("these prices lead to amounts that are too large to store") from None
    return tally


async def _written(client: "AsyncClient", chosen: Selection, table: "Table", *, note: str) -> "tuple[Tally, uuid.UUID]":
    """Write new versions, recorded in metrion.repricings before the first and after the last."""
    import uuid

    from services.cli.repricing import Tally, again

    identity = uuid.uuid4()
    at = datetime.now(UTC)
    tally = Tally()

    async def record(finished: bool) -> None:
        filters = {name: str(value) for name, value in chosen._asdict().items() if value}
        row = {
            "id": identity,
            "at": at,
            "by": confirm.operator(),
            "note": note,
            "filters": filters,
            "price_version": table.version,
            "finished": int(finished),
            **tally.record(),
        }
        await client.insert("metrion.repricings", [list(row.values())], column_names=list(row))

    await record(finished=False)
    number = 0
    async for page in _pages(client, chosen):
        changes = [(row, money) for row in page if (money := tally.add(row, again(row, table))) is not None]
        if changes:
            number += 1
            newer = [_newer(row, money, identity) for row, money in changes]
            await client.insert(
                "metrion.response_events",
                [list(row.values()) for row in newer],
                column_names=list(newer[0]),
                settings={"insert_deduplication_token": f"{identity} {number}", "async_insert": 0},
            )
    await record(finished=True)
    return tally, identity


async def _pages(client: "AsyncClient", chosen: Selection) -> AsyncIterator[list[Row]]:
    """Yield the selected rows, oldest first; the cursor is past rows written meanwhile."""
    import uuid

    from services.cli.clickhouse import timestamp
    from shared import clickhouse

    start, until = await _span(client, chosen)
    given = {"account": chosen.account, "provider": chosen.provider, "model": _pattern(chosen.model), "limit": PAGE}
    while start < until:
        end = min(start + STRIDE, until)
        period = {"since": timestamp(start), "until": timestamp(end)}
        after = timestamp(datetime(1970, 1, 2, tzinfo=UTC))
        after_id = uuid.UUID(int=0)
        while True:
            page = await clickhouse.ask(
                client, "repricing_page", **period, **given, after=after, after_id=str(after_id)
            )
            if page:
                yield page
            if len(page) < PAGE:
                break
            after = timestamp(page[-1]["started_at"])
            after_id = page[-1]["id"]
        start = end


async def _span(client: "AsyncClient", chosen: Selection) -> tuple[datetime, datetime]:
    """Return the part of the period that has rows."""
    from services.cli.clickhouse import timestamp
    from shared import clickhouse

    period = {"since": timestamp(chosen.since), "until": timestamp(chosen.until)}
    (span,) = await clickhouse.ask(client, "repricing_span", **period)
    if not span["rows"]:
        return chosen.until, chosen.until
    return span["first_at"], min(span["last_at"] + timedelta(microseconds=1), chosen.until)


def _newer(row: Row, money: "CostColumns", identity: "uuid.UUID") -> Row:
    import msgspec

    from services.cli.repricing import ESTIMATED, REPORTED
    from shared.pricing import cost_columns
    from shared.usage import Usage

    reported = msgspec.json.decode(row["usage"], type=Usage).source == REPORTED
    known = REPORTED if reported and row["usage_source"] == ESTIMATED else row["usage_source"]
    return {
        **row,
        **msgspec.structs.asdict(money),
        "usage_source": cost_columns.usage_source(known, money),
        "version": row["version"] + 1,
        "note": f"repricing {identity}",
    }


def _pattern(name: str) -> str:
    """Return a model as a LIKE pattern."""
    for special in ("\\", "%", "_"):
        name = name.replace(special, "\\" + special)
    return name.replace("*", "%")


def _report(tally: "Tally", table: "Table", *, as_json: bool) -> str:
    lines = [(*key, *(getattr(line, name) for name in COLUMNS)) for key, line in tally.sorted()]
    if as_json:
        names = ("provider", "model", *COLUMNS)
        return output.as_json(
            {
                "price_version": table.version,
                "rows": [dict(zip(names, line, strict=True)) for line in lines],
                "total": {name: getattr(tally.total, name) for name in COLUMNS},
            }
        )
    foot = ("total", "", *(getattr(tally.total, name) for name in COLUMNS))
    title = f"Recalculated with price version {table.version}"
    return output.as_table(("provider", "model", *COLUMNS.values()), lines, total=foot, title=title)
