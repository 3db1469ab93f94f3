"""How many days to keep what goes in; the tables' times to live are so afterwards."""

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
    """How long rows stay, in days."""

    requests: int
    rollup: int

    def of(self, table: str) -> int:
        """Those of one table."""
        return self.requests if table == "response_events" else self.rollup


async def apply(client: AsyncClient, days: Days, *, cluster: str = "") -> list[str]:
    """Change what is otherwise, and return those tables' names. Run it after a pass of the rollup, never before.

    A shorter time deletes rows within minutes, and what the rollup has not counted by then it never will.
    """
    found = await client.query("SELECT name, engine_full FROM system.tables WHERE database = 'metrion'")
    engines = {str(name): str(engine) for name, engine in found.result_rows}
    changed = []
    for table, moment in _MOMENT.items():
        has = _DAYS.search(engines[table])
        if has is None or int(has[1]) != days.of(table):
            statement = f"ALTER TABLE metrion.{table} MODIFY TTL {moment} + INTERVAL {days.of(table)} DAY DELETE"
            await client.command(schema.on_cluster(statement, cluster), use_database=False)
            log.info("%s keeps its rows for %d days", table, days.of(table))
            changed.append(table)
    return changed
