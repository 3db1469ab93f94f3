"""Rows go in; they stand in ClickHouse afterwards, or come back as refused, each with what the server said."""

import hashlib
import logging
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec
from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.exceptions import DatabaseError

from services.logger import rows
from services.logger.rows import Row
from shared import clickhouse

log = logging.getLogger(__name__)

_encode = msgspec.json.Encoder().encode

SETTINGS = {
    "date_time_input_format": "best_effort",
    "max_partitions_per_insert_block": 0,  # a gateway with a wrong clock must not stop the line
    "async_insert": 0,  # acknowledged means stored
}


class Refused(NamedTuple):
    """A row that ClickHouse will never take."""

    row: Row
    detail: str


async def insert(client: AsyncClient, batch: Iterable[Row]) -> list[Refused]:
    """Insert rows into their tables. Safe to repeat: the same rows become the same rows.

    Raises one of `clickhouse.Failed` when the server could not take them now; those that it refuses for good are found
    by halving the batch, and returned.
    """
    by_kind: dict[type[Row], list[Row]] = {}
    for row in batch:
        by_kind.setdefault(type(row), []).append(row)
    refused: list[Refused] = []
    for kind, table in rows.TABLES.items():
        if kind in by_kind:
            refused += await _insert(client, table, kind.__struct_fields__, by_kind[kind])
    return refused


async def _insert(client: AsyncClient, table: str, columns: Sequence[str], batch: list[Row]) -> list[Refused]:
    try:
        await client.raw_insert(
            f"metrion.{table}",
            column_names=columns,
            insert_block=b"\n".join(map(_encode, batch)),
            fmt="JSONCompactEachRow",
            settings=SETTINGS | {"insert_deduplication_token": token(batch)},
        )
        return []
    except DatabaseError as error:
        if not clickhouse.is_refusal(error):
            raise
        if len(batch) == 1:
            return [Refused(batch[0], str(error))]
    middle = len(batch) // 2
    return [
        *await _insert(client, table, columns, batch[:middle]),
        *await _insert(client, table, columns, batch[middle:]),
    ]


def token(batch: Iterable[Row]) -> str:
    """The same for the same rows in any order; without the version, a newer row would pass for a repeat."""
    return hashlib.sha256("|".join(sorted(map(rows.identity, batch))).encode()).hexdigest()
