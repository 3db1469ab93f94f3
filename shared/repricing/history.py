"""Reads requests to reprice in pages, and writes new versions of the changed ones."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta

import msgspec
from clickhouse_connect.driver.asyncclient import AsyncClient

from shared import clickhouse
from shared.pricing import cost_columns
from shared.pricing.cost import CostColumns
from shared.pricing.table import Table
from shared.repricing.recalculation import ESTIMATED, REPORTED, Row, Tally, repriced
from shared.usage import Usage

PAGE = 5000  # rows in memory at a time, each with its raw usage
STRIDE = timedelta(days=1)  # the period of one query


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """The requests to reprice; "" means all."""

    since: datetime
    until: datetime
    account: str = ""
    provider: str = ""
    model: str = ""  # * is a wildcard
    reason: str = ""  # only requests of unknown cost, for this reason

    def filters(self) -> dict[str, str]:
        """What it selects, for metrion.repricings."""
        return {name: str(value) for name, value in msgspec.structs.asdict(self).items() if value}


async def _nothing() -> None:
    pass


async def examine(client: AsyncClient, chosen: Selection, table: Table) -> Tally:
    """Sum what would change; ArithmeticError for an amount that is too large to store."""
    tally = Tally()
    async for page in _pages(client, chosen, size=PAGE):
        for row in page:
            tally.add(row, repriced(row, table))
    return tally


async def rewrite(
    client: AsyncClient,
    chosen: Selection,
    table: Table,
    *,
    by: str,
    note: str,
    page_rows: int | None = None,
    before_query: Callable[[], Awaitable[None]] = _nothing,
) -> tuple[Tally, uuid.UUID]:
    """Write new versions, recorded in metrion.repricings before and after.

    `before_query` is awaited before each query for rows, and ends the work by raising. Another run completes what was
    cut short: rows that are up to date do not change again.
    """
    identity = uuid.uuid4()
    at = datetime.now(UTC)
    tally = Tally()

    async def record(finished: bool) -> None:
        row = {
            "id": identity,
            "at": at,
            "by": by,
            "note": note,
            "filters": chosen.filters(),
            "price_version": table.version,
            "finished": int(finished),
            **tally.record(),
        }
        await client.insert("metrion.repricings", [list(row.values())], column_names=list(row))

    await record(finished=False)
    number = 0
    async for page in _pages(client, chosen, size=page_rows or PAGE, before_query=before_query):
        changes = [(row, money) for row in page if (money := tally.add(row, repriced(row, table))) is not None]
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


async def _pages(
    client: AsyncClient, chosen: Selection, *, size: int, before_query: Callable[[], Awaitable[None]] = _nothing
) -> AsyncIterator[list[Row]]:
    """Yield the selected rows, oldest first; the cursor is past rows written meanwhile."""
    start, until = await _span(client, chosen)
    given = {
        "account": chosen.account,
        "provider": chosen.provider,
        "model": _pattern(chosen.model),
        "reason": chosen.reason,
        "limit": size,
    }
    while start < until:
        end = min(start + STRIDE, until)
        period = {"since": _timestamp(start), "until": _timestamp(end)}
        after = _timestamp(datetime(1970, 1, 2, tzinfo=UTC))
        after_id = uuid.UUID(int=0)
        while True:
            await before_query()
            page = await clickhouse.run_query(
                client, "repricing_page", **period, **given, after=after, after_id=str(after_id)
            )
            if page:
                yield page
            if len(page) < size:
                break
            after = _timestamp(page[-1]["started_at"])
            after_id = page[-1]["id"]
        start = end


async def _span(client: AsyncClient, chosen: Selection) -> tuple[datetime, datetime]:
    """Return the part of the period that has rows."""
    period = {"since": _timestamp(chosen.since), "until": _timestamp(chosen.until)}
    (span,) = await clickhouse.run_query(client, "repricing_span", **period)
    if not span["rows"]:
        return chosen.until, chosen.until
    return span["first_at"], min(span["last_at"] + timedelta(microseconds=1), chosen.until)


def _newer(row: Row, money: CostColumns, identity: uuid.UUID) -> Row:
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


def _timestamp(at: datetime) -> str:
    """Format a `DateTime64(6, 'UTC')` parameter: the client drops microseconds."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"
