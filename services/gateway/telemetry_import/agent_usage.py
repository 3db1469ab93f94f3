"""Usage in the telemetry of coding agents: which events state it, and how.

One function per agent; each knows its agent's names. Everything else in their telemetry is ignored: prompts, commands
and errors are neither read nor kept.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec

from services.gateway.telemetry_import.log_records import Attributes, LogRecord
from shared import events

_MOST_TOKENS = 1 << 40
_MOST_SECONDS = 24 * 3600
_CLAUDE_SUBSCRIPTION = "metrion.billing"  # a resource attribute that users may set: telemetry does not tell


class BadUsage(ValueError):
    """An event that should state usage and does not."""


class AgentUsage(msgspec.Struct, frozen=True, kw_only=True):
    """One request of an agent. `usage`: as the provider's API states it."""

    provider: str
    path: str  # of the provider's API
    model: str
    usage: dict[str, object]
    ended_at: datetime
    latency: timedelta = timedelta()
    request_id: str = ""  # the provider's
    identity: tuple[str, ...]  # what tells this event from all others
    client: str
    client_version: str
    session: str
    agent: str
    user: str
    billing: str
    speed: str = ""


def read(record: LogRecord) -> AgentUsage | None:
    """Read the usage of an event; None for an event of another kind.

    BadUsage if it is unreadable.
    """
    reader = _READERS.get(record.name.rpartition(".")[2] if record.name.startswith("claude_code.") else record.name)
    return None if reader is None else reader(record)


def _claude_code(record: LogRecord) -> AgentUsage:
    """Claude Code's `api_request`: input tokens exclude the cache, as in Anthropic's API."""
    found = record.attributes
    request_id = _text(found, "request_id")
    session = _text(found, "session.id")
    usage: dict[str, object] = {
        "input_tokens": _count(found, "input_tokens"),
        "output_tokens": _count(found, "output_tokens"),
        "cache_read_input_tokens": _count(found, "cache_read_tokens", default=0),
        "cache_creation_input_tokens": _count(found, "cache_creation_tokens", default=0),
        "cache_creation": {
            "ephemeral_5m_input_tokens": _count(found, "cache_creation_5m_tokens", default=0),
            "ephemeral_1h_input_tokens": _count(found, "cache_creation_1h_tokens", default=0),
        },
    }
    counter = (session, _text(found, "event.sequence"), _text(found, "event.timestamp"), str(record.time_ns))
    return AgentUsage(
        provider="anthropic",
        path="/v1/messages",
        model=_model(found),
        usage=usage,
        ended_at=_ended_at(record),
        latency=timedelta(milliseconds=min(_count(found, "duration_ms", default=0), _MOST_SECONDS * 1000)),
        request_id=request_id,
        identity=("claude", request_id) if request_id else ("claude", *counter, str(usage)),
        client="claude-cli",
        client_version=_text(found, "app.version") or _text(record.resource, "service.version"),
        session=session,
        agent=_text(found, "query_source"),
        user=_text(found, "user.email"),
        billing=_billing(record),
        speed="fast" if found.get("speed") == "fast" else "",
    )


def _codex(record: LogRecord) -> AgentUsage | None:
    """Codex's `codex.sse_event` at the end of a response: counts include the cache, as in OpenAI's API."""
    found = record.attributes
    if found.get("event.kind") != "response.completed" or "input_token_count" not in found:
        return None  # other events of the stream; one whose usage could not be parsed has an error instead
    usage: dict[str, object] = {
        "input_tokens": _count(found, "input_token_count"),
        "output_tokens": _count(found, "output_token_count"),
        "input_tokens_details": {"cached_tokens": _count(found, "cached_token_count", default=0)},
        "output_tokens_details": {"reasoning_tokens": _count(found, "reasoning_token_count", default=0)},
    }
    session = _text(found, "conversation.id")
    counter = (session, _text(found, "event.timestamp"), str(record.time_ns))
    signed_in = _text(found, "auth_mode").lower() == "chatgpt"
    return AgentUsage(
        provider="openai",
        path="/v1/responses",
        model=_model(found),
        usage=usage,
        ended_at=_ended_at(record),
        identity=("codex", *counter, _model(found), str(usage)),
        client=_text(found, "originator") or "codex",
        client_version=_text(found, "app.version"),
        session=session,
        agent="",
        user=_text(found, "user.email"),
        billing=events.SUBSCRIPTION if signed_in else _billing(record),
    )


_READERS: dict[str, Callable[[LogRecord], AgentUsage | None]] = {
    "api_request": _claude_code,
    "codex.sse_event": _codex,
}


def _model(found: Attributes) -> str:
    model = _text(found, "model")
    if not model:
        raise BadUsage("names no model")
    return model


def _billing(record: LogRecord) -> str:
    return events.SUBSCRIPTION if record.resource.get(_CLAUDE_SUBSCRIPTION) == events.SUBSCRIPTION else ""


def _ended_at(record: LogRecord) -> datetime:
    stated = _text(record.attributes, "event.timestamp")
    try:
        at = datetime.fromisoformat(stated) if stated else datetime.fromtimestamp(record.time_ns / 1e9, UTC)
    except (ValueError, OverflowError, OSError):
        raise BadUsage("has an invalid time") from None
    if at.tzinfo is None:
        raise BadUsage("has a time without a time zone")
    try:
        return at.astimezone(UTC)
    except OverflowError:  # in the first or last hours of the calendar
        raise BadUsage("has an invalid time") from None


def _text(found: Attributes, name: str) -> str:
    value = found.get(name, "")
    return value if isinstance(value, str) else str(value)


def _count(found: Attributes, name: str, *, default: int | None = None) -> int:
    """A number of tokens or milliseconds, which clients send as a number or as text."""
    value = found.get(name, default)
    try:
        if value is None or isinstance(value, bool):
            raise ValueError
        number = float(value)
        if not 0 <= number <= _MOST_TOKENS or number != int(number):
            raise ValueError
    except (ValueError, OverflowError):  # OverflowError: an integer beyond the largest float
        raise BadUsage(f"has no valid {name}") from None
    return int(number)
