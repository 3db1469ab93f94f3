"""A question for ClickHouse comes in; rows go out, or one line that says why there are none."""

import contextlib
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from clickhouse_connect.driver.asyncclient import AsyncClient

from services.cli import connections
from shared import clickhouse

Rows = list[dict[str, Any]]

_NO_TABLES, _DENIED = (60, 81), 497  # ClickHouse: unknown table, unknown database; not allowed


@contextlib.asynccontextmanager
async def opened(variable: str = connections.CLICKHOUSE, *, patience: float = 60) -> AsyncIterator[AsyncClient]:
    """A client for the ClickHouse that `variable` names; Unavailable for whatever it cannot do inside the block."""
    url = connections.address(variable, os.environ)
    where = f"ClickHouse at {connections.place(url)}"
    try:
        client = await _connect(url, variable, patience)
        try:
            yield client
        finally:
            await client.close()
    except clickhouse.Failed as error:
        code = getattr(error, "code", None)
        if code in _NO_TABLES:
            raise connections.Unavailable(f"{where} has no tables yet; start the logger once, it makes them") from None
        if code == _DENIED:
            raise connections.Unavailable(f"{where} refuses: this user may not do that; see {variable}") from None
        if isinstance(error, clickhouse.Unreachable) and not code:
            raise connections.Unavailable(f"{where} does not answer ({type(error).__name__})") from None
        raise connections.Unavailable(f"{where} refuses the question (code {code or type(error).__name__})") from None


async def _connect(url: str, variable: str, patience: float) -> AsyncClient:
    try:
        ca_file = connections.optional(connections.CLICKHOUSE_CA, os.environ)
        return await clickhouse.connect(url, service="cli", ca_file=ca_file, patience=patience)
    except ValueError as error:  # it holds no value
        raise connections.Unavailable(f"{variable} {error}") from None


async def ask(*questions: tuple[str, dict[str, Any]]) -> list[Rows]:
    """The answers of `shared/queries`, in the order of the questions."""
    async with opened() as client:
        return [await clickhouse.ask(client, question, **parameters) for question, parameters in questions]


def moment(at: datetime) -> str:
    """A time as `DateTime64(6, 'UTC')` parameters take it: the client library would drop what is below a second."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"
