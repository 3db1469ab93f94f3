"""ClickHouse connections and queries for one command; errors become one line."""

import contextlib
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from clickhouse_connect.driver.asyncclient import AsyncClient

from services.cli import servers
from services.cli.errors import Unavailable
from shared import clickhouse

Rows = list[dict[str, Any]]
text = clickhouse.text  # the SQL of a file of shared/queries

_NO_TABLES = (60, 81)  # ClickHouse: unknown table, unknown database
_DENIED = 497


@contextlib.asynccontextmanager
async def connection(variable: str = servers.CLICKHOUSE, *, patience: float = 60) -> AsyncIterator[AsyncClient]:
    """Connect to the ClickHouse that `variable` names; errors become Unavailable."""
    url = servers.address(variable, os.environ)
    where = f"ClickHouse at {servers.host_and_port(url)}"
    try:
        client = await _connect(url, variable, patience)
        try:
            yield client
        finally:
            await client.close()
    except clickhouse.Failed as error:
        raise Unavailable(f"{where} {_reason(error, variable)}") from None


def _reason(error: Exception, variable: str) -> str:
    code = getattr(error, "code", None)
    if code in _NO_TABLES:
        return "has no tables yet; start the logger once to create them"
    if code == _DENIED:
        return f"denied the query: this user lacks permission; see {variable}"
    if isinstance(error, clickhouse.Unreachable) and not code:
        return f"does not respond ({type(error).__name__})"
    return f"rejected the query (code {code or type(error).__name__})"


async def _connect(url: str, variable: str, patience: float) -> AsyncClient:
    try:
        ca_file = servers.optional(servers.CLICKHOUSE_CA, os.environ)
        return await clickhouse.connect(url, service="cli", ca_file=ca_file, patience=patience)
    except ValueError as error:  # its message does not contain the URL
        raise Unavailable(f"{variable} {error}") from None


async def query(*queries: tuple[str, dict[str, Any]]) -> list[Rows]:
    """Run files of `shared/queries` with their parameters; returns the rows of each."""
    async with connection() as client:
        return [await clickhouse.run_query(client, name, **parameters) for name, parameters in queries]


def timestamp(at: datetime) -> str:
    """Format a `DateTime64(6, 'UTC')` parameter: the client drops microseconds."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"
