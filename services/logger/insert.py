"""Inserts rows into ClickHouse and returns those it refuses, with the reason."""

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
    "max_partitions_per_insert_block": 0,  # a gateway with a wrong clock must not block all inserts
    "async_insert": 0,  # an acknowledged insert is stored
}


class Refused(NamedTuple):
    """A row that ClickHouse will never accept."""

    row: Row
    detail: str


async def insert(client: AsyncClient, batch: Iterable[Row]) -> list[Refused]:
    """Insert rows into their tables; repeating an insert changes nothing.

    Raises one of `clickhouse.Failed` for a temporary failure. Rows that the server refuses for good are found by
    bisecting the batch, and returned.
    """
    by_table: dict[type[Row], list[Row]] = {}
    for row in batch:
        by_table.setdefault(type(row), []).append(row)
    refused: list[Refused] = []
    for row_type, table in rows.TABLES.items():
        if row_type in by_table:
            refused += await _insert(client, table, row_type.__struct_fields__, by_table[row_type])
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
    """Deduplication token of rows: independent of order, new for a newer version."""
    return hashlib.sha256("|".join(sorted(map(rows.identity, batch))).encode()).hexdigest()
