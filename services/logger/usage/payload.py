"""What every dialect reads an answer through: its picks as objects, counts that are counts, its error."""

import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import msgspec

from shared import events
from shared.events import Evidence, ResponseEvent
from shared.pricing import free_endpoints

REPORTED, PARTIAL, ABSENT = "reported", "partial", "absent"

_MOST = 10**12  # tokens of one request beyond which a number is no count
_TEXT = 4096
_ERROR_EVENTS = ("error", "response.failed")
_OWN_OBJECTS = ("error", "response", "chat.completion", "text_completion", "conversation.response", "list")
_PENDING = ("queued", "in_progress")
# Fields of usage that bear on the cost; totals repeat the sum of others.
_COUNT = re.compile(
    r"(?:tokens|TokenCount|_requests|pages_processed|_calls|seconds|num_sources_used|_ticks)$|^(?:tokenCount|count)$"
)
_TOTAL = frozenset({"total_tokens", "totalTokenCount", "total_token_count"})
_QUANTITY = re.compile(r"seconds$|_ticks$")

Object = dict[str, Any]


class Payload(msgspec.Struct, frozen=True):
    """`objects`: the picks in order. `whole`: the answer came to its end, even if the client did not see it."""

    objects: list[Object]
    evidence: Evidence
    provider: str
    endpoint: str
    whole: bool
    model: str = ""

    @classmethod
    def of(cls, event: ResponseEvent) -> "Payload":
        """The answer an event tells of. Picks that are no JSON objects are left out."""
        objects = objects_of(event)
        return cls(
            objects,
            event.evidence,
            event.envelope.provider,
            event.envelope.endpoint,
            event.outcome == events.COMPLETE or event.drained,
            _model(objects) or event.evidence.request.get("model", ""),
        )

    @property
    def region(self) -> str:
        """The region that the upstream's host stands for; "" for none."""
        return self.evidence.request.get("region", "")

    @property
    def interim(self) -> bool:
        """The usage was stated while the answer went on, and the answer broke off: not the last word."""
        return self.evidence.interim and not self.whole

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
        """The last object under `key` that counts anything, else the last one; {} when there is none."""
        return last_counting(one[key] for one in self.objects if isinstance(one.get(key), dict))

    @property
    def offered(self) -> list[Object]:
        """The provider's own tools that the request offered, as the answer repeats them or the request had them."""
        for one in reversed(self.objects):
            for where in (inside(one, "response"), one):
                if isinstance(where.get("tools"), list):
                    return [tool for tool in where["tools"] if isinstance(tool, dict)]
        try:
            return msgspec.json.decode(self.evidence.request.get("tools") or "[]", type=list[Object])
        except msgspec.MsgspecError:
            return []


def last_counting(found: Iterable[Object]) -> Object:
    """The last usage object that counts anything: zeros that follow do not undo what was stated. {} for none."""
    last: Object = {}
    for one in found:
        if not last or _counts_something(one) or not _counts_something(last):
            last = one
    return last


def _counts_something(usage: Object) -> bool:
    return any(
        _counts_something(value) if isinstance(value, dict) else isinstance(value, int | float) and value > 0
        for value in usage.values()
    )


def unreadable(usage: object, depth: int = 6) -> bool:
    """Whether a usage object has a count that is none, such as a text, a negative or an absurd number."""
    if isinstance(usage, dict):
        for name, value in usage.items():
            if type(value) is int and 0 <= value <= _MOST:  # nearly all of them
                continue
            if _odd(name, value) or (depth > 0 and unreadable(value, depth - 1)):
                return True
        return False
    return isinstance(usage, list) and depth > 0 and any(unreadable(one, depth - 1) for one in usage)


def _odd(name: str, value: object) -> bool:
    if value is None or name in _TOTAL or not _COUNT.search(name):
        return False
    return number(value) is None if _QUANTITY.search(name) else known(value) is None


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


def overlaid(earlier: Object, later: Object) -> Object:
    """Usage stated earlier with a later statement over it, field by field: null and 0 do not undo what was stated."""
    merged = dict(earlier)
    for name, value in later.items():
        before = merged.get(name)
        if isinstance(value, dict) and isinstance(before, dict):
            merged[name] = overlaid(before, value)
        elif value is not None and (value != 0 or before is None):
            merged[name] = value
    return merged


def text(value: object) -> str:
    """A short text; "" for anything else."""
    return value[:_TEXT] if isinstance(value, str) else ""


def raw(usage: Object) -> str:
    """The usage object as JSON."""
    return msgspec.json.encode(usage).decode() if usage else ""


def failure(answer: Payload) -> tuple[str, str]:
    """(type, message) of an error inside the answer; ("", "") when there is none.

    A job that failed is no error of the call that asks for it or creates it: its `error` is part of what was asked for.
    """
    looked_up = free_endpoints.is_lookup(answer.endpoint)
    for found in answer.objects:
        if found.get("type") not in _ERROR_EVENTS and (looked_up or _is_job(found)):
            continue
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


def _is_job(found: Object) -> bool:
    """Whether a document describes a job with a life of its own, such as a fine-tuning job, an eval run or a video."""
    name = found.get("object")
    return isinstance(name, str) and name != "" and not name.startswith(_OWN_OBJECTS)


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
