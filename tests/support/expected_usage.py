"""Expected contents of the usage views, computed in plain Python."""

import math
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec
from clickhouse_connect.driver.asyncclient import AsyncClient

from services.dashboard import page_params
from services.dashboard.page_params import View
from services.dashboard.queries import joint_source, source_sql
from services.dashboard.queries.joint_source import SummedDays
from services.logger import rows
from services.logger.insert import SETTINGS
from services.logger.rows import ResponseRow
from shared import clickhouse, rollup_days
from shared.pricing import cost_columns
from tests.support.definitions import is_answered, is_error, is_estimated, model_name

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
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Figures = dict[tuple[Any, ...], dict[str, Any]]


def request(started_at: datetime, **changes: Any) -> ResponseRow:
    """An answered request, as the logger would record it."""
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
        "cost": Decimal("0.0001").quantize(cost_columns.SCALE),
        "cost_by_class": {"input": Decimal("0.0001").quantize(cost_columns.SCALE)},
        "version": rows.VERSION_ANSWERED,
        "spool": "s",
        "epoch": 1,
        "sequence": 1,
    }
    return ResponseRow(**(given | changes))


def interrupted(row: ResponseRow) -> ResponseRow:
    """The same request as the sweep records it while its response is missing."""
    envelope = (
        "id account token requester metadata client client_version session agent billing connection turn "
        "provider dialect endpoint model_requested stream started_at gateway"
    )
    kept = {name: getattr(row, name) for name in envelope.split()}
    lost: dict[str, Any] = {
        "status": 0,
        "outcome": "interrupted",
        "cost_reason": "interrupted",
        "version": rows.VERSION_INTERRUPTED,
    }
    return ResponseRow(**kept, **lost, spool="s", epoch=1, sequence=0)


async def insert(client: AsyncClient, batch: Sequence[ResponseRow], *, ingested_at: datetime) -> None:
    """As services.logger.insert does, but at a time of the test's choosing."""
    lines = [msgspec.json.encode([*msgspec.structs.astuple(row), ingested_at]) for row in batch]
    await client.raw_insert(
        "metrion.response_events",
        column_names=[*ResponseRow.__struct_fields__, "ingested_at"],
        insert_block=b"\n".join(lines),
        fmt="JSONCompactEachRow",
        settings=SETTINGS,
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
    if name == "usage_source":  # of sums: a guessed price is an estimate, too
        return "estimated" if is_estimated(row) and row.usage_source != "imported" else row.usage_source
    return model_name(row) if name == "model" else getattr(row, name)


def _sums(found: list[ResponseRow]) -> dict[str, Any]:
    lasting = [row for row in found if row.outcome != "interrupted"]
    sums: dict[str, Any] = {
        "requests": len(found),
        "errors": sum(is_error(row) for row in found),
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
    sums["last_at"] = max(row.started_at for row in found)
    return sums


class QueryContext(NamedTuple):
    """What the dashboard queries with: a view with the touched buckets, and the parameters of its sources."""

    shown: View
    parameters: dict[str, Any]


async def query_context(client: AsyncClient, *lines: datetime) -> QueryContext | None:
    """The present context, for queries with these boundaries; None while there are no narrower sums."""
    (how_far,) = await clickhouse.run_query(client, "dashboard_settled")
    if not how_far["narrow"]:
        return None
    plain = page_params.parse("/", {}, now=datetime.now(UTC))
    shown = msgspec.structs.replace(plain, touched=how_far["touched"])
    return QueryContext(shown, source_sql.parameters(shown, lines=lines, first=_EPOCH))


async def summed_days(client: AsyncClient) -> SummedDays | None:
    """The days that a dashboard query takes from sums by day; None before the first pass."""
    rows = await clickhouse.run_query(client, "dashboard_days", settling=int(rollup_days.SETTLING.total_seconds()))
    if not rows:
        return None
    row = rows[0]
    return SummedDays(row["first"], row["until"], tuple(row["touched"]), row["first_of_sessions"])


JOINT = (  # sums by quarter hour have the first, only those by day the second, the value of the key `team`, and the third
    ("requester", "model"),
    ("requester", "model", "row_property"),
    ("session", "client", "agent"),
)
_OF_JOINT: dict[str, Callable[[ResponseRow], str]] = {
    "requester": lambda row: row.requester,
    "model": model_name,
    "row_property": lambda row: row.metadata.get("team", ""),
    "session": lambda row: row.session,
    "client": lambda row: row.client,
    "agent": lambda row: row.agent,
}


def joint_sums(rows: Iterable[ResponseRow], by: Sequence[str]) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """Requests, errors, requests without a cost, and cost by account and these dimensions."""
    groups: dict[tuple[Any, ...], list[ResponseRow]] = defaultdict(list)
    for row in rows:
        groups[row.account, *(_OF_JOINT[name](row) for name in by)].append(row)
    return {key: _joint(found) for key, found in groups.items()}


def _joint(found: list[ResponseRow]) -> tuple[Any, ...]:
    costs = [row.cost for row in found if row.cost is not None]
    return len(found), sum(map(is_error, found)), len(found) - len(costs), sum(costs) if costs else None


async def stored_joint_sums(
    client: AsyncClient, days: SummedDays, context: QueryContext, by: Sequence[str]
) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """The same as the dashboard's source of several dimensions has it."""
    sums = ("requests", "errors", "unpriced", "cost")
    period = msgspec.structs.replace(context.shown.period, since=_EPOCH)
    shown = msgspec.structs.replace(context.shown, period=period)
    source = joint_source.source(shown, days, ["account", "bucket", *by, *sums], *by)
    assert ("usage_session_days" in source) == ("session" in by and days.first_of_sessions < days.until)
    more = joint_source.parameters(days, lines=()) | {"row_key": "team", "column_key": ""}
    parameters = shown.parameters() | context.parameters | more
    key = ", ".join(("account", *by))
    sql = f"SELECT {key}, {', '.join(f'sum({name}) AS sum_{name}' for name in sums)} FROM SOURCE GROUP BY {key}"
    rows = await _rows(client, sql, source, QueryContext(shown, parameters))
    return {(row["account"], *(row[name] for name in by)): tuple(row[f"sum_{name}"] for name in sums) for row in rows}


async def _rows(
    client: AsyncClient, sql: str, source: str, context: QueryContext | None = None
) -> list[dict[str, Any]]:
    """Run `sql` with SOURCE replaced by a table, a view or a source of the dashboard."""
    known = source if source.startswith("(") else f"metrion.{source}"
    result = await client.query(sql.replace("SOURCE", known), parameters=context.parameters if context else None)
    return list(result.named_results())


async def stored_usage(client: AsyncClient, source: str, *, key: Sequence[str] = KEY) -> Figures:
    """Figures stored in `usage`, `usage_15m FINAL` …; keys without requests are left out."""
    sums = ", ".join(f"sum({name}) AS sum_{name}" for name in SUMS)
    result = await client.query(
        f"SELECT {', '.join(key)}, {sums}, sumMap(cost_by_class) AS by_class, max(last_at) AS last FROM metrion.{source} GROUP BY {', '.join(key)} "
        "HAVING sum_requests > 0"
    )
    found: Figures = {}
    for row in result.named_results():
        one = {name: row[f"sum_{name}"] for name in SUMS}
        one["cost_by_class"] = {name: amount for name, amount in row["by_class"].items() if amount}
        one["last_at"] = row["last"]
        found[tuple(row[name] for name in key)] = one
    return found


def requester_sums(rows: Iterable[ResponseRow]) -> Figures:
    """What usage_requester_sums must say of these requests, by account and requester."""
    groups: dict[tuple[Any, ...], list[ResponseRow]] = defaultdict(list)
    for row in rows:
        groups[row.account, row.requester].append(row)
    return {key: _who(found) for key, found in groups.items()}


def _who(found: list[ResponseRow]) -> dict[str, Any]:
    sums = {name: value for name, value in _sums(found).items() if name in _WHO}
    models = Counter(row.model or row.model_requested for row in found)
    return sums | {
        "hits": sum(row.cache == "HIT" for row in found),
        "estimated": sum(is_estimated(row) for row in found),
        "answered": sum(map(is_answered, found)),
        "answered_ms": sum(row.latency_ms for row in found if is_answered(row)),
        "models": dict(models),
        "last_at": max(row.started_at for row in found),
    }


_WHO = ("requests", "errors", "unpriced", "input_tokens", "output_tokens", "cost", "cost_saved")


_NAMES = (*_WHO, "hits", "estimated", "answered", "answered_ms")
WHO = ("account", "bucket", "requester", *_NAMES, "models", "last_at")


async def stored_requester_sums(
    client: AsyncClient, source: str, context: QueryContext | None = None, *, where: str = "true"
) -> Figures:
    """The same as stored in ClickHouse."""
    sums = ", ".join(f"sum({name}) AS sum_{name}" for name in _NAMES)
    sql = f"SELECT account, requester, {sums}, sumMap(models) AS used, max(last_at) AS last FROM SOURCE WHERE {where} GROUP BY account, requester"
    return {
        (row["account"], row["requester"]): {name: row[f"sum_{name}"] for name in _NAMES}
        | {"models": row["used"], "last_at": row["last"]}
        for row in await _rows(client, sql, source, context)
        if row["sum_requests"]
    }


SUMMED = {"model": ("provider", "model"), "status": ("status", "outcome"), "token": ("token",)}  # by `dims`
_ALSO = (
    "hits",
    "cacheable",
    "estimated",
    "estimated_cost",
    "answered",
    "answered_ms",
    "first_bytes",
    "first_byte_ms",
    "ok",
    "broken",
    "refused",
    "failed",
    "interrupted",
)
_SUMMED_UP = (*SUMS[:9], "cost_saved", *_ALSO)


def narrow_sums(rows: Iterable[ResponseRow], dims: str) -> Figures:
    """What usage_sums must say of these requests, by account and the names of `dims`."""
    groups: dict[tuple[Any, ...], list[ResponseRow]] = defaultdict(list)
    for row in rows:
        groups[(row.account, *(_dimension(row, name) for name in SUMMED[dims]))].append(row)
    return {key: _narrow(found) for key, found in groups.items()}


def _narrow(found: list[ResponseRow]) -> dict[str, Any]:
    sums, answers = _sums(found), [row for row in found if is_answered(row)]
    paid = [row for row in found if row.cache != "HIT"]
    ended = [row for row in paid if 0 < row.status < 400]
    guessed = [row.cost for row in found if row.cost is not None and is_estimated(row)]
    return {name: value for name, value in sums.items() if name in (*_SUMMED_UP, "cost_by_class")} | {
        "hits": len(found) - len(paid),
        "cacheable": sum(row.cache != "" for row in found),
        "estimated": len(guessed),
        "estimated_cost": sum(guessed) if guessed else None,
        "answered": len(answers),
        "answered_ms": sum(row.latency_ms for row in answers),
        "first_bytes": sum(row.ttfb_ms is not None for row in answers),
        "first_byte_ms": sum(row.ttfb_ms or 0 for row in answers),
        "ok": sum(not is_error(row) for row in ended),
        "broken": sum(map(is_error, ended)),
        "refused": sum(400 <= row.status < 500 for row in paid),
        "failed": sum(row.status >= 500 for row in paid),
        "interrupted": sum(row.status == 0 for row in found),
        "last_at": max(row.started_at for row in found),
    }


NARROW = (
    "account",
    "bucket",
    "provider",
    "model",
    "status",
    "outcome",
    "token",
    *_SUMMED_UP,
    "cost_by_class",
    "last_at",
)


async def stored_narrow_sums(
    client: AsyncClient, source: str, dims: str, context: QueryContext | None = None, *, where: str = "true"
) -> Figures:
    """What ClickHouse answers to the same."""
    key = ", ".join(("account", *SUMMED[dims]))
    sums = ", ".join(f"sum({name}) AS sum_{name}" for name in _SUMMED_UP)
    sql = f"SELECT {key}, {sums}, sumMap(cost_by_class) AS by_class, max(last_at) AS last FROM SOURCE WHERE {where} GROUP BY {key} HAVING sum_requests > 0"
    found: Figures = {}
    for row in await _rows(client, sql, source, context):
        one = {name: row[f"sum_{name}"] for name in _SUMMED_UP}
        one["cost_by_class"] = {name: amount for name, amount in row["by_class"].items() if amount}
        one["last_at"] = row["last"]
        found[(row["account"], *(row[name] for name in SUMMED[dims]))] = one
    return found


FAULT = (
    "account",
    "bucket",
    "requester",
    "token",
    "provider",
    "model",
    "status",
    "outcome",
    "error_type",
    "cache",
    "usage_source",
    "priced",
    "cost_reason",
)


def faults(rows: Iterable[ResponseRow]) -> dict[tuple[Any, ...], tuple[int, int, datetime]]:
    """What usage_faults must say of these requests: how many, their prompt tokens and when the last came, by FAULT."""
    groups: dict[tuple[Any, ...], list[ResponseRow]] = defaultdict(list)
    for row in rows:
        if is_error(row) or row.cost is None:
            groups[tuple(_dimension(row, name) for name in FAULT)].append(row)
    return {
        key: (len(found), sum(row.input_tokens or 0 for row in found), max(row.started_at for row in found))
        for key, found in groups.items()
    }


async def stored_faults(
    client: AsyncClient, source: str, context: QueryContext | None = None
) -> dict[tuple[Any, ...], tuple[int, int, datetime]]:
    """What ClickHouse answers to the same."""
    sums = "sum(requests) AS many, ifNull(sum(input_tokens), 0) AS prompt, max(last_at) AS last"
    sql = f"SELECT {', '.join(FAULT)}, {sums} FROM SOURCE GROUP BY {', '.join(FAULT)} HAVING many > 0"
    return {
        tuple(row[name] for name in FAULT): (row["many"], row["prompt"], row["last"])
        for row in await _rows(client, sql, source, context)
    }


def latency(rows: Iterable[ResponseRow], *by: str) -> dict[tuple[str, ...], list[int]]:
    """The latency of complete answers, in order, by account and what else is named."""
    groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for row in filter(is_answered, rows):
        groups[(row.account, *(_dimension(row, name) for name in by))].append(row.latency_ms)
    return {key: sorted(found) for key, found in groups.items()}


async def stored_latency(
    client: AsyncClient, source: str, *by: str, context: QueryContext | None = None, where: str = "true"
) -> dict[tuple[str, ...], list[float]]:
    """Their percentiles 50, 95, 99, as ClickHouse knows them."""
    key = ", ".join(("account", *by))
    sql = f"SELECT {key}, quantilesTDigestMerge(0.5, 0.95, 0.99)(latency) AS long FROM SOURCE WHERE {where} GROUP BY {key}"
    found = {
        (row["account"], *(row[name] for name in by)): list(row["long"])
        for row in await _rows(client, sql, source, context)
    }
    return {key: long for key, long in found.items() if not any(map(math.isnan, long))}
