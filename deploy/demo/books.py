"""The demo's ClickHouse in, numbers for its progress and its history out; read-only, without a password."""

from datetime import datetime

import aiohttp
import msgspec

_TIMEOUT = aiohttp.ClientTimeout(total=10)

_SO_FAR = """
SELECT count() AS requests, countIf(status >= 400 OR outcome NOT IN ('complete', 'client_closed')) AS errors,
    toInt64(sum(coalesce(input_tokens, 0) + coalesce(output_tokens, 0))) AS tokens, toFloat64(sum(cost)) AS cost
FROM metrion.requests WHERE started_at >= toDateTime64('{since}', 6, 'UTC') AND gateway != '{history}'
FORMAT JSONEachRow SETTINGS output_format_json_quote_64bit_integers = 0
"""
_SPOOLS = """
SELECT spool, max(closing AND at = toStartOfDay(at)) AS closed FROM metrion.gateways WHERE gateway = '{history}'
GROUP BY spool
UNION ALL
SELECT DISTINCT spool, false AS closed FROM metrion.response_events WHERE gateway = '{history}'
FORMAT JSONEachRow
"""

HISTORY = "history"  # the gateway's name in rows that stand for a past


class SoFar(msgspec.Struct, frozen=True):
    """What stands in the books of the live traffic."""

    requests: int = 0
    errors: int = 0
    tokens: int = 0
    cost: float | None = None


class _Spool(msgspec.Struct, frozen=True):
    spool: str
    closed: bool


async def so_far(session: aiohttp.ClientSession, clickhouse: str, *, since: datetime) -> SoFar:
    """The live traffic since a moment."""
    (row,) = await _rows(session, clickhouse, _SO_FAR.format(since=f"{since:%Y-%m-%d %H:%M:%S.%f}", history=HISTORY))
    return msgspec.json.decode(row, type=SoFar)


async def spools(clickhouse: str) -> dict[str, bool]:
    """Spools of a past that stand there already → whether they are complete."""
    async with aiohttp.ClientSession(trust_env=False) as session:
        rows = await _rows(session, clickhouse, _SPOOLS.format(history=HISTORY))
    found: dict[str, bool] = {}
    for row in rows:
        one = msgspec.json.decode(row, type=_Spool)
        found[one.spool] = found.get(one.spool, False) or one.closed
    return found


async def _rows(session: aiohttp.ClientSession, clickhouse: str, sql: str) -> list[bytes]:
    async with session.post(clickhouse, data=sql.encode(), timeout=_TIMEOUT) as response:
        response.raise_for_status()
        return (await response.read()).splitlines()
