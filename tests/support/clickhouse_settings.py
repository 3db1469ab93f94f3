"""ClickHouse clients of one process that read a server's settings once, instead of at each connection."""

import functools
from typing import Any

from clickhouse_connect.driver._backend import orchestration
from clickhouse_connect.driver.asyncclient import AsyncClient

_SETTINGS = "SELECT name, value, readonly FROM system.settings"
_PROTOCOL = "SELECT 1 AS check"
_ask = AsyncClient._execute_operation
_results: dict[tuple[str, str, str], object] = {}  # by address, user with password, and statement


async def _ask_once(client: AsyncClient, operation: Any) -> object:
    if not operation.text.startswith((_SETTINGS, _PROTOCOL)):
        return await _ask(client, operation)
    key = (client.url, client.headers["Authorization"], operation.text)
    if key not in _results:
        _results[key] = await _ask(client, operation)
    return _results[key]


def remember() -> None:
    """Let a new client ask only for the server's version, and so whether server and password are right.

    The other two statements of a connection cost 10 ms of CPU time, and a server's response to a user is the same.
    """
    orchestration._setting_definitions = functools.cache(orchestration._setting_definitions)
    setattr(AsyncClient, "_execute_operation", _ask_once)  # noqa: B010 — mypy lets no method be assigned
