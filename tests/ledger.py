"""Versions of requests go in; what `usage` must say of them comes out, computed in plain Python."""

import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
from clickhouse_connect.driver.asyncclient import AsyncClient

from services.logger import rows, store
from services.logger.rows import ResponseRow
from shared.pricing import booking

KEY = [
    "account",
    "bucket",
    "requester",
    "token",
    "provider",
    "model",
    "stream",
    "status",
    "outcome",
    "cache",
    "usage_source",
    "priced",
]
SUMS = [
    "requests",
    "errors",
    "unpriced",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "cost",
    "cost_saved",
    "saved_input_tokens",
    "saved_output_tokens",
    "latency_count",
    "latency_sum",
    "ttfb_count",
    "ttfb_sum",
]
Figures = dict[tuple[Any, ...], dict[str, Any]]


def request(started_at: datetime, **changes: Any) -> ResponseRow:
    """An answered request, as the logger would book it."""
    given: dict[str, Any] = {
        "id": str(uuid.uuid4()),
        "account": "acme",
        "token": "ci",
        "requester": "ann",
        "metadata": {"team": "blue"},
        "provider": "openai",
        "dialect": "openai_chat",
        "endpoint": "POST /v1/chat/completions",
        "model_requested": "gpt-4o",
        "model": "gpt-4o-2024-11-20",
        "stream": False,
        "started_at": started_at,
        "gateway": "test",
        "status": 200,
        "outcome": "complete",
        "latency_ms": 100,
        "ttfb_ms": 40,
        "input_tokens": 10,
        "output_tokens": 20,
        "usage_source": "reported",
        "cost": Decimal("0.0001").quantize(booking.SCALE),
        "cost_by_class": {"input": Decimal("0.0001").quantize(booking.SCALE)},
        "version": rows.VERSION_ANSWERED,
        "spool": "s",
        "epoch": 1,
        "sequence": 1,
    }
    return ResponseRow(**(given | changes))


def interrupted(row: ResponseRow) -> ResponseRow:
    """The same request as the sweep books it while its answer is not there."""
    envelope = "id account token requester metadata provider dialect endpoint model_requested stream started_at gateway"
    kept = {name: getattr(row, name) for name in envelope.split()}
    lost = {"status": 0, "outcome": "interrupted", "cost_reason": "interrupted", "version": rows.VERSION_INTERRUPTED}
    return ResponseRow(**kept, **lost, spool="s", epoch=1, sequence=0)


async def insert(client: AsyncClient, batch: Sequence[ResponseRow], *, ingested_at: datetime) -> None:
    """As services.logger.store does, but at a time of the test's choosing."""
    lines = [msgspec.json.encode([*msgspec.structs.astuple(row), ingested_at]) for row in batch]
    await client.raw_insert(
        "metrion.response_events",
        column_names=[*ResponseRow.__struct_fields__, "ingested_at"],
        insert_block=b"\n".join(lines),
        fmt="JSONCompactEachRow",
        settings=store.SETTINGS,
    )


def newest(versions: Iterable[ResponseRow]) -> list[ResponseRow]:
    """One row a request: of its highest version, and of those the last."""
    found: dict[str, ResponseRow] = {}
    for row in versions:
        if row.id not in found or row.version >= found[row.id].version:
            found[row.id] = row
    return list(found.values())


def figures(versions: Iterable[ResponseRow], *, key: Sequence[str] = KEY) -> Figures:
    """What `SELECT key, sums FROM metrion.usage GROUP BY key` must answer."""
    groups: dict[tuple[Any, ...], list[ResponseRow]] = defaultdict(list)
    for row in newest(versions):
        groups[tuple(_dimension(row, name) for name in key)].append(row)
    return {group: _sums(found) for group, found in groups.items()}


def _dimension(row: ResponseRow, name: str) -> Any:
    if name == "bucket":
        return row.started_at.replace(minute=row.started_at.minute // 15 * 15, second=0, microsecond=0)
    if name == "priced":
        return row.cost is not None
    return row.model or row.model_requested if name == "model" else getattr(row, name)


def _sums(found: list[ResponseRow]) -> dict[str, Any]:
    lasting = [row for row in found if row.outcome != "interrupted"]
    sums: dict[str, Any] = {
        "requests": len(found),
        "errors": sum(_failed(row) for row in found),
        "unpriced": sum(row.cost is None for row in found),
        "latency_count": len(lasting),
        "latency_sum": sum(row.latency_ms for row in lasting),
        "ttfb_count": sum(row.ttfb_ms is not None for row in found),
        "ttfb_sum": sum(row.ttfb_ms or 0 for row in found),
    }
    for name in set(SUMS) - set(sums):
        known = [value for row in found if (value := getattr(row, name)) is not None]
        sums[name] = sum(known) if known else None
    classes: dict[str, Decimal] = defaultdict(Decimal)
    for row in found:
        for name, amount in row.cost_by_class.items():
            classes[name] += amount
    sums["cost_by_class"] = {name: amount for name, amount in classes.items() if amount}
    return sums


def _failed(row: ResponseRow) -> bool:
    if row.outcome in ("complete", "client_closed"):
        return row.outcome == "complete" and (row.status >= 400 or row.error_type != "")
    return True


async def answered(client: AsyncClient, source: str, *, key: Sequence[str] = KEY) -> Figures:
    """What ClickHouse answers from `usage`, `usage_15m FINAL` …; keys without requests are left out."""
    sums = ", ".join(f"sum({name}) AS sum_{name}" for name in SUMS)
    result = await client.query(
        f"SELECT {', '.join(key)}, {sums}, sumMap(cost_by_class) AS by_class FROM metrion.{source} GROUP BY {', '.join(key)} "
        "HAVING sum_requests > 0"
    )
    found: Figures = {}
    for row in result.named_results():
        one = {name: row[f"sum_{name}"] for name in SUMS}
        one["cost_by_class"] = {name: amount for name, amount in row["by_class"].items() if amount}
        found[tuple(row[name] for name in key)] = one
    return found


def complete(row: ResponseRow) -> bool:
    """Answered in full by a provider: what latency is measured of."""
    return row.outcome == "complete" and row.status < 400 and row.cache != "HIT"


def who(rows: Iterable[ResponseRow]) -> Figures:
    """What usage_requesters must say of these requests, by account and requester."""
    groups: dict[tuple[Any, ...], list[ResponseRow]] = defaultdict(list)
    for row in rows:
        groups[row.account, row.requester].append(row)
    return {key: _who(found) for key, found in groups.items()}


def _who(found: list[ResponseRow]) -> dict[str, Any]:
    sums = {name: value for name, value in _sums(found).items() if name in _WHO}
    models = Counter(row.model or row.model_requested for row in found)
    return sums | {
        "hits": sum(row.cache == "HIT" for row in found),
        "estimated": sum(row.cost is not None and row.usage_source == "estimated" for row in found),
        "answered": sum(map(complete, found)),
        "answered_ms": sum(row.latency_ms for row in found if complete(row)),
        "models": dict(models),
    }


_WHO = ("requests", "errors", "unpriced", "input_tokens", "output_tokens", "cost", "cost_saved")


async def who_answered(client: AsyncClient, source: str) -> Figures:
    """What ClickHouse answers to the same."""
    names = (*_WHO, "hits", "estimated", "answered", "answered_ms")
    sums = ", ".join(f"sum({name}) AS sum_{name}" for name in names)
    sql = f"SELECT account, requester, {sums}, sumMap(models) AS used FROM metrion.{source} GROUP BY account, requester"
    return {
        (row["account"], row["requester"]): {name: row[f"sum_{name}"] for name in names} | {"models": row["used"]}
        for row in (await client.query(sql)).named_results()
    }


def latency(rows: Iterable[ResponseRow], *, whole: int) -> dict[tuple[str, ...], list[int]]:
    """The latency of complete answers, in order, by account, provider and model."""
    groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for row in filter(complete, rows):
        names = ("", "") if whole else (row.provider, row.model or row.model_requested)
        groups[(row.account, *names)].append(row.latency_ms)
    return {key: sorted(found) for key, found in groups.items()}


async def latency_answered(client: AsyncClient, source: str) -> dict[tuple[str, ...], tuple[int, list[float]]]:
    """How many of them ClickHouse knows, and their percentiles 50, 95, 99."""
    sql = f"""SELECT account, provider, model, sum(answered) AS count, quantilesTDigestMerge(0.5, 0.95, 0.99)(latency) AS long
        FROM metrion.{source} GROUP BY account, provider, model HAVING count > 0"""
    return {tuple(row[:3]): (row[3], list(row[4])) for row in (await client.query(sql)).result_rows}
