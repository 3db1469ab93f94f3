"""Requests as the logger exports them."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec

from services.logger.rows import VERSION_ANSWERED, ResponseRow
from services.logger.telemetry.stored_request import StoredRequest

ID = "01985d3c-9a41-7c2e-8f13-5ad3c0ffee42"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
ROW = ResponseRow(
    id=ID,
    account="acme",
    token="ci",
    requester="ann",
    metadata={"project": "apollo"},
    client="claude-cli",
    session="s-1",
    agent="reviewer",
    turn="t-1",
    provider="anthropic",
    dialect="anthropic",
    endpoint="POST /v1/messages",
    model_requested="claude-sonnet-4-5",
    model="claude-sonnet-4-5-20250929",
    stream=True,
    started_at=datetime(2026, 11, 20, 9, 30, 0, 123456, tzinfo=UTC),
    gateway="g-0",
    status=200,
    outcome="complete",
    error_message="the prompt was: secret",
    provider_request_id="req_1",
    latency_ms=2500,
    ttfb_ms=400,
    input_tokens=1000,  # of these 100 neither read from nor written to the cache
    output_tokens=50,
    cache_read_tokens=700,
    cache_write_tokens=200,
    reasoning_tokens=20,
    usage_source="reported",
    usage_raw='{"content": "secret"}',
    cost=Decimal("0.001234567891"),
    cost_source="genai-prices",
    price_version="v1",
    version=VERSION_ANSWERED,
    spool="s",
    epoch=1,
    sequence=2,
)


def stored_request(*, traceparent: str = "", server: str = "api.anthropic.com", **changes: Any) -> StoredRequest:
    """One that differs from ROW in `changes`."""
    return StoredRequest(msgspec.structs.replace(ROW, **changes), traceparent, server)
