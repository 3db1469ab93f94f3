"""Exports of requests: the whole list in blocks, and its lines in CSV and JSON."""

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from datetime import datetime, tzinfo
from decimal import Decimal
from typing import Any

import msgspec

from services.dashboard import currency
from services.dashboard.page_params import View
from services.dashboard.queries import log_pages
from services.dashboard.queries.log_pages import Key, Page
from services.dashboard.queries.runner import QueryRunner
from shared import spreadsheet

Row = Mapping[str, Any]

BLOCK = 4000  # rows per query: each reads whole hours, as often as they have blocks
_LINES = 1000  # encoded at once, between other requests of the dashboard
COLUMNS = (
    "id", "started_at", "account", "token", "requester", "provider", "endpoint", "model_requested", "model", "stream",
    "status", "outcome", "error_type", "error_message", "cache", "input_tokens", "output_tokens", "total_tokens",
    "cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens", "reasoning_tokens",
    "service_tier", "usage_source", "cost_usd", "cost_source",
    "cost_reason", "cost_saved_usd", "latency_ms", "ttfb_ms", "provider_request_id", "metadata",
    "model_name", "is_error", "is_cache_hit", "is_estimated", "is_answered",
    "client", "client_version", "agent", "session", "billing", "cost_equivalent_usd", "source",
    "connection", "turn",
)  # fmt: skip
_AMOUNTS = ("cost_usd", "cost_saved_usd", "cost_equivalent_usd")
_JSON = msgspec.json.Encoder(decimal_format="string")


class ExportFailed(Exception):
    """An export that cannot be completed; the message says why, for people."""


async def lines(
    runner: QueryRunner, view: View, after: Key | None, *, as_csv: bool, seconds: float
) -> AsyncGenerator[bytes, None]:
    """Yield the list as CSV or JSON lines, in blocks; raises ExportFailed."""
    line = csv_line if as_csv else json_line
    head = csv_head(view.tz.key) if as_csv else b""
    async for page in _pages(runner, view, after, seconds=seconds):
        if page.failure or page.stopped:
            raise ExportFailed(page.failure or "Export timed out. Narrow the period.")
        for first in range(0, max(1, len(page.rows)), _LINES):
            yield head + b"".join(line(values_of(row, view.tz)) for row in page.rows[first : first + _LINES])
            head = b""


async def _pages(runner: QueryRunner, view: View, after: Key | None, *, seconds: float) -> AsyncIterator[Page]:
    """Yield the list in blocks, newest first, each once the previous one is sent."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    after = after or Key(min(view.until, view.period.now), uuid.UUID(int=0))
    while True:
        left = max(0.0, deadline - loop.time())
        page = await log_pages.older(runner, view, after, size=BLOCK, seconds=left, name=log_pages.EXPORT)
        yield page
        if not page.more or not page.rows:
            return
        after = log_pages.key_of(page.rows[-1])


def values_of(row: Row, zone: tzinfo) -> dict[str, Any]:
    """Return exported values: None for unknown, times with offset, exact amounts."""
    started_at: datetime = row["started_at"]
    tokens = (row["input_tokens"], row["output_tokens"])
    values = {
        **row,
        "id": str(row["id"]),
        "started_at": started_at.astimezone(zone).isoformat(timespec="microseconds"),
        "total_tokens": None if None in tokens else sum(tokens),
        "cost_usd": row["cost"],
        "cost_saved_usd": row["cost_saved"],
        "cost_equivalent_usd": row["cost_equivalent"],
        "latency_ms": None if row["outcome"] == "interrupted" else row["latency_ms"],
    }
    return {name: values[name] for name in COLUMNS}


def csv_head(zone: str) -> bytes:
    """Return the CSV header; the time column names its time zone."""
    names = [f"{name} ({zone})" if name == "started_at" else name for name in COLUMNS]
    return _encoded(spreadsheet.BOM + spreadsheet.line(names))


def csv_line(values: Mapping[str, Any]) -> bytes:
    """Return a request as a line of CSV."""
    return _encoded(spreadsheet.line(_cell(values[name]) for name in COLUMNS))


def json_line(values: Mapping[str, Any]) -> bytes:
    """Return a request as a line of JSON."""
    return _JSON.encode(with_exact_amounts(values)) + b"\n"


def with_exact_amounts(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return exported values with amounts as text: every digit, no exponent."""
    amounts = {name: currency.exact(values[name]) for name in _AMOUNTS if values[name] is not None}
    return {**values, **amounts}


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, dict):
        value = _JSON.encode(value).decode() if value else ""
    return spreadsheet.text(value) if isinstance(value, str) else str(value)


def _encoded(line: str) -> bytes:
    return line.encode("utf-8", "replace")
