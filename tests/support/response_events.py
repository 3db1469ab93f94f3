"""Response events as a gateway ships them, for tests of what the logger makes of them."""

from datetime import UTC, datetime
from typing import Any

from shared import events
from shared.events import Envelope, Evidence, Origin, ResponseEvent


def event(
    evidence: Evidence,
    *,
    dialect: str,
    provider: str,
    status: int = 200,
    endpoint: str = "POST /v1/x",
    model: str = "asked",
    at: datetime | None = None,
    **changes: Any,
) -> ResponseEvent:
    envelope = Envelope(
        "id", "acme", "ci", "ann", {}, provider, dialect, endpoint, model, False, at or datetime.now(UTC), "g"
    )
    fields: dict[str, Any] = {"outcome": events.COMPLETE, "drained": False, "error_type": "", "cache": ""} | changes
    return ResponseEvent(
        origin=Origin("s", 1, 1),
        envelope=envelope,
        status=status,
        error_message="",
        provider_request_id="",
        latency_ms=1,
        ttfb_ms=1,
        request_bytes=1,
        response_bytes=1,
        upstream=True,
        evidence=evidence,
        **fields,
    )
