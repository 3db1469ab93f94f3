"""Makes events encodable: no lone surrogates, integers within 64 bits."""

import re
from typing import Any, TypeVar

import msgspec

from shared import events
from shared.events import Envelope, Evidence, RequestEvent, ResponseEvent

_LARGEST = 2**63 - 1
_SURROGATE = re.compile("[\ud800-\udfff]")

E = TypeVar("E", bound=RequestEvent | ResponseEvent)


def text(value: str) -> str:
    """Replace lone surrogates, as which header bytes that are not UTF-8 arrive."""
    return value if value.isascii() else _SURROGATE.sub("\ufffd", value)


def sanitized(event: E) -> E:
    """Make every value of an event encodable."""
    clean: E = _clean(event)
    return clean


def minimal(event: E) -> E:
    """Reduce an event to its id, account, billing, outcome and times."""
    envelope = event.envelope
    reduced = Envelope(
        id=envelope.id,
        account=_clean(envelope.account),
        token="",
        requester="",
        metadata={},
        provider=envelope.provider,
        dialect=envelope.dialect,
        endpoint="",
        model="",
        stream=bool(envelope.stream),
        started_at=envelope.started_at,
        gateway=envelope.gateway,
        billing=envelope.billing,
    )
    if isinstance(event, RequestEvent):
        return msgspec.structs.replace(event, envelope=reduced)
    unread = Evidence(truncated=True, gaps=events.GAPS_ALL, reason=events.UNREAD_FAILED)
    return msgspec.structs.replace(
        event, envelope=reduced, error_type="", error_message="", provider_request_id="", evidence=unread
    )


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return text(value)
    if isinstance(value, bool) or not isinstance(value, int | dict | tuple | list | msgspec.Struct):
        return value
    if isinstance(value, int):
        return max(min(value, _LARGEST), -_LARGEST)
    if isinstance(value, dict):
        return {_clean(name): _clean(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return tuple(map(_clean, value))
    return type(value)(*(_clean(getattr(value, name)) for name in value.__struct_fields__))
