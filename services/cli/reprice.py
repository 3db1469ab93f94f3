"""The command `reprice`: a period and prices in; newer versions of rows whose money changes, and a report, out."""

import os
import uuid
from argparse import Namespace
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from clickhouse_connect.driver.asyncclient import AsyncClient

from services.cli import books, connections, consent, periods, tables, trail
from services.cli.outcome import Outcome
from services.cli.repricing import ESTIMATED, REPORTED, Tally, again
from shared import clickhouse
from shared.accounts_admin import AccountError
from shared.pricing import booking
from shared.pricing.booking import Money
from shared.pricing.table import Table
from shared.usage import Usage

PAGE = 5000  # rows in memory at a time, each with its raw usage
STRIDE = timedelta(days=1)  # what one query looks through
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


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Which requests are meant; "" means all."""

    since: datetime
    until: datetime
    account: str
    provider: str
    model: str  # * stands for anything


async def reprice(options: Namespace) -> Outcome:
    """Look first, then ask, then write: what is written is what was shown, unless rows came in between."""
    tz, table = periods.zone(options.tz), _table(options.prices)
    since, until = periods.span(options.since, options.until, tz=tz, now=datetime.now(UTC))
    chosen = Selection(
        since=since, until=until, account=options.account, provider=options.provider, model=options.model
    )
    looking = consent.only_looks(options)
    async with books.opened(_address(looking), patience=PATIENCE) as client:
        seen = await _examined(client, chosen, table)
        shown = _report(options, seen, table)
        if looking or not seen.total.changed:
            note = "Nothing would change." if not seen.total.changed else "Nothing was written: add --yes to write it."
            return Outcome(shown, note=note)
        if not await consent.given(options, f"{shown}\nWrite a newer version of {seen.total.changed} requests?"):
            return Outcome(note="Nothing was written.", status=1)
        done, identity = await _written(client, chosen, table, note=options.note)
    details = {"repricing": str(identity), "since": options.since, "changed": str(done.total.changed)}
    unrecorded = await trail.change_of_books(
        "prices", "reprice", options.model, account=options.account, details=details
    )
    return Outcome(
        _report(options, done, table),
        note=f"{done.total.changed} newer versions written, repricing {identity}; see metrion.repricings.{unrecorded}",
    )


async def _examined(client: AsyncClient, chosen: Selection, table: Table) -> Tally:
    tally = Tally()
    async for page in _pages(client, chosen):
        try:
            for row in page:
                tally.add(row, again(row, table))
        except ArithmeticError:
            raise AccountError("these prices make amounts that the books cannot hold") from None
    return tally


async def _written(client: AsyncClient, chosen: Selection, table: Table, *, note: str) -> tuple[Tally, uuid.UUID]:
    """A row in metrion.repricings before the first change and another after the last, so that none is silent."""
    identity, at, tally = uuid.uuid4(), datetime.now(UTC), Tally()

    async def record(finished: bool) -> None:
        filters = {name: str(value) for name, value in msgspec.structs.asdict(chosen).items() if value}
        row = {
            "id": identity,
            "at": at,
            "by": consent.who(),
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


async def _pages(client: AsyncClient, chosen: Selection) -> AsyncIterator[list[Row]]:
    """The rows that are meant, oldest first. What is written meanwhile does not come again: the cursor is past it."""
    start, until = await _span(client, chosen)
    given = {"account": chosen.account, "provider": chosen.provider, "model": _pattern(chosen.model), "limit": PAGE}
    while start < until:
        end = min(start + STRIDE, until)
        period = {"since": books.moment(start), "until": books.moment(end)}
        after, after_id = books.moment(datetime(1970, 1, 2, tzinfo=UTC)), uuid.UUID(int=0)
        while True:
            page = await clickhouse.ask(
                client, "repricing_page", **period, **given, after=after, after_id=str(after_id)
            )
            if page:
                yield page
            if len(page) < PAGE:
                break
            after, after_id = books.moment(page[-1]["started_at"]), page[-1]["id"]
        start = end


async def _span(client: AsyncClient, chosen: Selection) -> tuple[datetime, datetime]:
    """The part of the period in which there is anything."""
    period = {"since": books.moment(chosen.since), "until": books.moment(chosen.until)}
    (found,) = await clickhouse.ask(client, "repricing_span", **period)
    if not found["rows"]:
        return chosen.until, chosen.until
    return found["first_at"], min(found["last_at"] + timedelta(microseconds=1), chosen.until)


def _newer(row: Row, money: Money, identity: uuid.UUID) -> Row:
    reported = msgspec.json.decode(row["usage"], type=Usage).source == REPORTED
    known = REPORTED if reported and row["usage_source"] == ESTIMATED else row["usage_source"]
    return {
        **row,
        **msgspec.structs.asdict(money),
        "usage_source": booking.usage_label(known, money),
        "version": row["version"] + 1,
        "note": f"repricing {identity}",
    }


def _pattern(name: str) -> str:
    """A model as SQL's LIKE takes it."""
    for special in ("\\", "%", "_"):
        name = name.replace(special, "\\" + special)
    return name.replace("*", "%")


def _table(name: str) -> Table:
    path = name or connections.optional("METRION_PRICES_FILE", os.environ)
    try:
        return Table.load(Path(path) if path else None)
    except (ValueError, ArithmeticError, OSError) as error:
        raise AccountError(f"{path}: {error}") from None


def _address(looking: bool) -> str:
    return connections.CLICKHOUSE if looking else connections.for_changes(os.environ)


def _report(options: Namespace, tally: Tally, table: Table) -> str:
    lines = [(*key, *(getattr(line, name) for name in COLUMNS)) for key, line in tally.sorted()]
    if options.json:
        names = ("provider", "model", *COLUMNS)
        return tables.as_json(
            {
                "price_version": table.version,
                "rows": [dict(zip(names, line, strict=True)) for line in lines],
                "total": {name: getattr(tally.total, name) for name in COLUMNS},
            }
        )
    foot = ("total", "", *(getattr(tally.total, name) for name in COLUMNS))
    title = f"Priced again by price version {table.version}"
    return tables.as_table(("provider", "model", *COLUMNS.values()), lines, total=foot, title=title)
