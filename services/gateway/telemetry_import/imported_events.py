"""Events of imported requests.

They are the same as those of requests that passed the gateway, but have no number.
"""

import hashlib
import re
import uuid
from datetime import datetime, timedelta

import msgspec

from services.gateway.dialects import of_path
from services.gateway.outbox import sanitize
from services.gateway.telemetry_import.agent_usage import AgentUsage, BadUsage
from services.gateway.telemetry_import.log_records import Attributes
from shared import events
from shared.accounts_model import Token
from shared.events import Envelope, Evidence, Origin, ResponseEvent
from shared.providers import BUILT_IN

OLDEST, NEWEST = timedelta(days=30), timedelta(hours=1)  # how far a client's time may be from the gateway's
_UNNUMBERED = Origin("", 0, 0)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")
_MAX_BYTES = 256  # of a text, as in the headers of a request
_MAX_METADATA = 16
# Attributes of a client's resource that describe its machine; all others are what its user added.
_MACHINE = (
    "service.",
    "telemetry.",
    "host.",
    "os.",
    "process.",
    "wsl.",
    "deployment.",
    "container.",
    "k8s.",
    "metrion.",
)


class Sender(msgspec.Struct, frozen=True):
    """Who sent an export: its token and the x-metrion-* headers."""

    token: Token
    requester: str
    metadata: dict[str, str]
    gateway: str


def build(found: AgentUsage, resource: Attributes, *, sender: Sender, now: datetime) -> ResponseEvent:
    """Build the event of a request; BadUsage if its time is implausible.

    The same event of the client always has the same ID and start, so that a repeated export changes nothing.
    """
    if not now - OLDEST <= found.ended_at <= now + NEWEST:
        raise BadUsage(f"is older than {OLDEST.days} days or in the future")
    token = sender.token
    api = BUILT_IN[found.provider].api
    envelope = Envelope(
        id=_id(token.account, found),
        account=token.account,
        token=token.name,
        requester=sender.requester or token.requester or _text(found.user),
        metadata=_metadata(resource, sender.metadata),
        provider=found.provider,
        dialect=of_path(api, found.path).name,
        endpoint=f"POST {found.path}",
        model=_text(found.model),
        stream=False,
        started_at=found.ended_at - found.latency,
        gateway=sender.gateway,
        client=_text(found.client),
        client_version=_text(found.client_version),
        session=_text(found.session),
        agent=_text(found.agent),
        billing=found.billing,
    )
    pick = msgspec.json.encode({"model": envelope.model, "usage": found.usage})
    return ResponseEvent(
        origin=_UNNUMBERED,
        envelope=envelope,
        status=200,
        outcome=events.COMPLETE,
        error_type="",
        error_message="",
        provider_request_id=_text(found.request_id),
        latency_ms=round(found.latency / timedelta(milliseconds=1)),
        ttfb_ms=None,
        request_bytes=0,
        response_bytes=0,
        cache="",
        drained=False,
        upstream=True,
        evidence=Evidence((pick,), request={"speed": found.speed} if found.speed else {}),
        imported=True,
    )


def _id(account: str, found: AgentUsage) -> str:
    """A UUID of version 7: the time of the event, and a hash of what identifies it within the account."""
    digest = hashlib.sha256("\0".join((account, *found.identity)).encode("utf-8", "replace")).digest()
    milliseconds = int(found.ended_at.timestamp() * 1000)
    number = milliseconds << 80 | int.from_bytes(digest[:10], "big")
    number = number & ~(0xF << 76) | 7 << 76  # version
    number = number & ~(0x3 << 62) | 2 << 62  # variant
    return str(uuid.UUID(int=number))


def _metadata(resource: Attributes, own: dict[str, str]) -> dict[str, str]:
    """The headers' metadata, and what the client's user added to its resource (OTEL_RESOURCE_ATTRIBUTES)."""
    found = dict(own)
    for name in sorted(resource):
        value = resource[name]
        if len(found) == _MAX_METADATA:
            break
        if isinstance(value, str) and value and not name.startswith(_MACHINE):
            found.setdefault(_text(name), _text(value))
    return found


def _text(value: str) -> str:
    """A text without control characters, cut to its limit."""
    value = _CONTROL.sub(" ", sanitize.text(value)).strip()
    return value.encode("utf-8", "ignore")[:_MAX_BYTES].decode("utf-8", "ignore").strip()
