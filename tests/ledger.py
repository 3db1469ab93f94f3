"""Versions of requests go in; what `usage` must say of them comes out, computed in plain Python."""

import uuid
from collections import defaultdict
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
