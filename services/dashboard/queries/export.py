"""Lines of the CSV and JSON exports of requests."""

from collections.abc import Mapping
from datetime import datetime, tzinfo
from decimal import Decimal
from typing import Any

import msgspec

from shared import spreadsheet

Row = Mapping[str, Any]

BLOCK = 2000  # rows per query
COLUMNS = (
    "id", "started_at", "account", "token", "requester", "provider", "endpoint", "model_requested", "model", "stream",
    "status", "outcome", "error_type", "error_message", "cache", "input_tokens", "output_tokens", "total_tokens",
    "cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens", "reasoning_tokens",
    "service_tier", "usage_source", "cost_usd", "cost_source",
    "cost_reason", "cost_saved_usd", "latency_ms", "ttfb_ms", "provider_request_id", "metadata",
    "model_name", "is_error", "is_cache_hit", "is_estimated", "is_answered",
    "client", "client_version", "agent", "session", "billing", "cost_equivalent_usd",
)  # fmt: skip
_JSON = msgspec.json.Encoder(decimal_format="string")


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
    return _JSON.encode(values) + b"\n"


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
