"""Queries for the demo's stored traffic and history."""

from datetime import datetime
from typing import TypeVar

import aiohttp
import msgspec

from deploy.demo.history import GATEWAY

_TIMEOUT = aiohttp.ClientTimeout(total=10)
_LIVE = """
SELECT count() AS requests, countIf(is_error) AS errors,
    toInt64(sum(coalesce(input_tokens, 0) + coalesce(output_tokens, 0))) AS tokens, toFloat64(sum(cost)) AS cost
FROM metrion.requests
WHERE started_at >= toDateTime64('{since:%Y-%m-%d %H:%M:%S.%f}', 6, 'UTC') AND gateway != '{gateway}'
FORMAT JSONEachRow SETTINGS output_format_json_quote_64bit_integers = 0
"""
_SPOOLS = """
SELECT spool, max(closed) AS closed FROM (
    SELECT spool, closing AND at = toStartOfDay(at) AS closed FROM metrion.gateways WHERE gateway = '{gateway}'
    UNION ALL SELECT DISTINCT spool, false AS closed FROM metrion.response_events WHERE gateway = '{gateway}')
GROUP BY spool FORMAT JSONEachRow
"""
_Row = TypeVar("_Row")


class Live(msgspec.Struct, frozen=True):
    """Totals of the live traffic stored so far."""

    requests: int = 0
    errors: int = 0
    tokens: int = 0
    cost: float | None = None


class _Spool(msgspec.Struct, frozen=True):
    spool: str
    closed: bool


async def live(session: aiohttp.ClientSession, clickhouse: str, *, since: datetime) -> Live:
    """Totals of the live traffic since a time."""
    (row,) = await _rows(session, clickhouse, _LIVE.format(since=since, gateway=GATEWAY), Live)
    return row


async def spools(clickhouse: str) -> dict[str, bool]:
    """The stored spools of a history, and whether each is complete."""
    async with aiohttp.ClientSession(trust_env=False) as session:
        rows = await _rows(session, clickhouse, _SPOOLS.format(gateway=GATEWAY), _Spool)
    return {row.spool: row.closed for row in rows}


async def _rows(session: aiohttp.ClientSession, clickhouse: str, sql: str, row: type[_Row]) -> list[_Row]:
    async with session.post(clickhouse, data=sql.encode(), timeout=_TIMEOUT) as response:
        response.raise_for_status()
        return [msgspec.json.decode(line, type=row, strict=False) for line in (await response.read()).splitlines()]
