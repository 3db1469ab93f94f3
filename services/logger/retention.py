"""Applies the retention settings to the tables' TTLs."""

import logging
import re

import msgspec
from clickhouse_connect.driver.asyncclient import AsyncClient

from services.logger import schema
from shared import rollup_tables

log = logging.getLogger(__name__)

_DAYS = re.compile(r"TTL .*?toIntervalDay\((\d+)\)")
_MOMENT = {"response_events": "toDateTime(started_at)", **dict.fromkeys(rollup_tables.ROLLUP, "bucket")}


class Days(msgspec.Struct, frozen=True, kw_only=True):
    """Retention in days."""

    requests: int
    rollup: int

    def for_table(self, table: str) -> int:
        """Retention of one table."""
        return self.requests if table == "response_events" else self.rollup


async def apply(client: AsyncClient, days: Days, *, cluster: str = "") -> list[str]:
    """Change the TTLs that differ and return the names of those tables.

    Call it only after a rollup pass: a shorter TTL deletes rows within minutes, and the rollup would never count them.
    """
    result = await client.query("SELECT name, engine_full FROM system.tables WHERE database = 'metrion'")
    engines = {str(name): str(engine) for name, engine in result.result_rows}
    changed = []
    for table, moment in _MOMENT.items():
        current = _DAYS.search(engines[table])
        if current is None or int(current[1]) != days.for_table(table):
            statement = f"ALTER TABLE metrion.{table} MODIFY TTL {moment} + INTERVAL {days.for_table(table)} DAY DELETE"
            await client.command(schema.on_cluster(statement, cluster), use_database=False)
            log.info("%s: retention is now %d days", table, days.for_table(table))
            changed.append(table)
    return changed
