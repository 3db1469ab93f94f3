"""Outboxes and their events, for tests."""

from datetime import UTC, datetime
from pathlib import Path

from services.gateway.outbox.outbox import Outbox
from shared.events import Envelope, RequestEvent

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def opened(folder: Path, *, max_bytes: int = 1 << 30, segment_bytes: int = 32 << 20) -> Outbox:
    return Outbox(folder, gateway="g-0", max_bytes=max_bytes, segment_bytes=segment_bytes)


def said(outbox: Outbox, size: int = 20, *, account: str = "acme") -> RequestEvent:
    """The next event of a gateway, about `size` bytes larger than its bare envelope; not yet appended."""
    envelope = Envelope("id", account, "t", "x" * size, {}, "openai", "openai_chat", "POST /", "m", False, NOON, "g-0")
    return RequestEvent(outbox.origin(), envelope)


def append(outbox: Outbox, size: int = 20) -> int:
    """Append one event; its number."""
    event = said(outbox, size)
    assert outbox.append(event)
    return event.origin.sequence
