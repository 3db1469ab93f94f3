"""What every dialect reads an answer through: its picks as objects, counts that are counts, its error."""

from decimal import Decimal
from typing import Any

import msgspec

from shared import contract
from shared.contract import Evidence, ResponseEvent

REPORTED, PARTIAL, ABSENT = "reported", "partial", "absent"

_MOST = 10**12  # tokens of one request beyond which a number is no count
_TEXT = 4096
_PENDING = ("queued", "in_progress")

Object = dict[str, Any]


class Answer(msgspec.Struct, frozen=True):
    """`objects`: the picks in order. `whole`: the answer came to its end, even if the client did not see it."""

    objects: list[Object]
    evidence: Evidence
    provider: str
    endpoint: str
    whole: bool
    model: str = ""

    @classmethod
    def of(cls, event: ResponseEvent) -> "Answer":
        """The answer an event tells of. Picks that are no JSON objects are left out."""
        objects = objects_of(event)
        return cls(
            objects,
            event.evidence,
            event.envelope.provider,
            event.envelope.endpoint,
            event.outcome == contract.COMPLETE or event.drained,
            _model(objects) or event.evidence.request.get("model", ""),
        )

    @property
    def region(self) -> str:
        """The region that the upstream's host stands for; "" for none."""
        return self.evidence.request.get("region", "")

    @property
    def background(self) -> bool:
        """The answer is made apart from this call, to be fetched later. Streams, too, begin as in progress."""
        pending = len(self.objects) == 1 and self.objects[0].get("status") in _PENDING
        return pending or any(
            where.get("background") is True for one in self.objects for where in (one, inside(one, "response"))
        )

    @property
    def begun(self) -> bool:
        """Something of the answer came that is not just an error."""
        return bool(self.objects)

    def last(self, key: str) -> Object:
        """The last object under `key`; {} when there is none."""
        for found in reversed(self.objects):
            if isinstance(found.get(key), dict):
                return dict(found[key])
        return {}


def objects_of(event: ResponseEvent) -> list[Object]:
    """An event's picks that are JSON objects."""
    return [found for one in event.evidence.picks if (found := _object(one)) is not None]


def count(value: object) -> int:
    """A count as a provider writes it; 0 for what is none."""
    return known(value) or 0


def known(value: object) -> int | None:
    """The same, but None for what is no count: absent, null, negative, absurd."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST:
        return value
    return None


def number(value: object) -> Decimal | None:
    """A non-negative quantity that may have decimals, such as seconds."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _MOST:
        return Decimal(str(value))
    return None


def inside(parent: Object, key: str) -> Object:
    """The object under `key`; {} when there is none."""
    value = parent.get(key)
    return value if isinstance(value, dict) else {}


def text(value: object) -> str:
    """A short text; "" for anything else."""
    return value[:_TEXT] if isinstance(value, str) else ""


def raw(usage: Object) -> str:
    """The usage object as JSON."""
    return msgspec.json.encode(usage).decode() if usage else ""


def failure(objects: list[Object]) -> tuple[str, str]:
    """(type, message) of an error inside the answer; ("", "") when there is none."""
    for found in objects:
        response = inside(found, "response")
        error = found.get("error") or response.get("error")
        if isinstance(error, dict):
            kind = error.get("type") or error.get("status") or error.get("code") or "error"
            return text(str(kind)), text(error.get("message"))
        if isinstance(error, str):
            return text(found.get("code")) or "error", text(error)
        if found.get("type") == "error" or found.get("object") == "error":
            kind = found.get("code") if found.get("type") == "error" else found.get("type")
            return text(str(kind or "error")), text(found.get("message"))
        if found.get("type") == "response.failed":
            return "response.failed", ""
    return "", ""


def _object(pick: bytes) -> Object | None:
    try:
        found = msgspec.json.decode(pick)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _model(objects: list[Object]) -> str:
    for found in objects:
        for where in (found, *(inside(found, name) for name in ("message", "response", "interaction"))):
            name = where.get("model") or where.get("modelVersion")
            if isinstance(name, str) and name:
                return name[:256]
    return ""
