"""A response's evidence as JSON objects, with checked counts and its error."""

import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import msgspec

from shared import events, free_endpoints
from shared.events import Evidence, ResponseEvent

REPORTED = "reported"
PARTIAL = "partial"
ABSENT = "absent"

_MAX_COUNT = 10**12  # larger numbers are not plausible for one request
_MAX_TEXT = 4096
_ERROR_EVENTS = ("error", "response.failed")
_LIMITED = ("tokens", "requests")  # OpenAI's types of a 429: what there were too many of; the code says so in words
_OWN_OBJECTS = ("error", "response", "chat.completion", "text_completion", "conversation.response", "list")
_PENDING = ("queued", "in_progress")
# Usage fields that affect the cost; totals only repeat the sum of others.
_COUNT = re.compile(
    r"(?:tokens|TokenCount|_requests|pages_processed|_calls|seconds|num_sources_used|_ticks)$|^(?:tokenCount|count)$"
)
_TOTAL = frozenset({"total_tokens", "totalTokenCount", "total_token_count"})
_QUANTITY = re.compile(r"seconds$|_ticks$")

Object = dict[str, Any]


class Payload(msgspec.Struct, frozen=True):
    """The evidence of a response, parsed.

    `objects` are the picks in order. `whole`: the response was read to its end, even if the client left earlier.
    """

    objects: list[Object]
    evidence: Evidence
    provider: str
    endpoint: str
    whole: bool
    model: str = ""

    @classmethod
    def of(cls, event: ResponseEvent) -> "Payload":
        """Parse an event's evidence. Picks that are not JSON objects are skipped."""
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
        """The processing region that the upstream's host implies; "" for none."""
        return self.evidence.request.get("region", "")

    @property
    def interim(self) -> bool:
        """Whether the usage is not final: stated mid-response, which then broke off."""
        return self.evidence.interim and not self.whole

    @property
    def background(self) -> bool:
        """Whether the response is produced in the background, to be fetched later."""
        # a stream, too, begins with an event that is in progress: more than one object
        pending = len(self.objects) == 1 and self.objects[0].get("status") in _PENDING
        return pending or any(
            item.get("background") is True for event in self.objects for item in (event, inside(event, "response"))
        )

    @property
    def begun(self) -> bool:
        """Whether any part of the response arrived."""
        return bool(self.objects)

    def last(self, key: str) -> Object:
        """The last object under `key` with a count above 0, else the last one, else {}."""
        return last_counting(event[key] for event in self.objects if isinstance(event.get(key), dict))

    @property
    def offered(self) -> list[Object]:
        """The provider's hosted tools that the request offered.

        Taken from the response, which repeats them, else from the request.
        """
        for event in reversed(self.objects):
            for item in (inside(event, "response"), event):
                if isinstance(item.get("tools"), list):
                    return [tool for tool in item["tools"] if isinstance(tool, dict)]
        try:
            return msgspec.json.decode(self.evidence.request.get("tools") or "[]", type=list[Object])
        except msgspec.MsgspecError:
            return []


def last_counting(usages: Iterable[Object]) -> Object:
    """The last usage object with a count above 0, else the last one, else {}.

    Zeros that follow do not cancel earlier counts.
    """
    last: Object = {}
    for usage in usages:
        if not last or _counts_something(usage) or not _counts_something(last):
            last = usage
    return last


def _counts_something(usage: Object) -> bool:
    return any(
        _counts_something(value) if isinstance(value, dict) else isinstance(value, int | float) and value > 0
        for value in usage.values()
    )


def unreadable(usage: object, depth: int = 6) -> bool:
    """Whether a count in a usage object is invalid: text, negative or implausible."""
    if isinstance(usage, dict):
        for name, value in usage.items():
            if type(value) is int and 0 <= value <= _MAX_COUNT:  # fast path: nearly all values
                continue
            if _is_bad_count(name, value) or (depth > 0 and unreadable(value, depth - 1)):
                return True
        return False
    return isinstance(usage, list) and depth > 0 and any(unreadable(item, depth - 1) for item in usage)


def _is_bad_count(name: str, value: object) -> bool:
    if value is None or name in _TOTAL or not _COUNT.search(name):
        return False
    return number(value) is None if _QUANTITY.search(name) else known(value) is None


def objects_of(event: ResponseEvent) -> list[Object]:
    """The picks of an event that are JSON objects."""
    return [parsed for pick in event.evidence.picks if (parsed := _object(pick)) is not None]


def count(value: object) -> int:
    """A count from a provider's JSON; 0 if invalid or absent."""
    return known(value) or 0


def known(value: object) -> int | None:
    """Like `count`, but None if absent, null, negative or implausible."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_COUNT:
        return value
    return None


def number(value: object) -> Decimal | None:
    """A non-negative quantity that may be fractional, such as seconds."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _MAX_COUNT:
        return Decimal(str(value))
    return None


def inside(parent: Object, key: str) -> Object:
    """The object under `key`; {} when there is none."""
    value = parent.get(key)
    return value if isinstance(value, dict) else {}


def overlaid(earlier: Object, later: Object) -> Object:
    """Merge usage objects field by field; null and 0 do not overwrite earlier counts."""
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
    return value[:_MAX_TEXT] if isinstance(value, str) else ""


def raw(usage: Object) -> str:
    """Encode a usage object as JSON; "" if it is empty."""
    return msgspec.json.encode(usage).decode() if usage else ""


def failure(payload: Payload) -> tuple[str, str]:
    """(type, message) of an error inside the response; ("", "") if there is none.

    A failed job is not an error of the call that fetched or created it: its `error` is part of the requested data.
    """
    looked_up = free_endpoints.is_lookup(payload.endpoint)
    for item in payload.objects:
        if item.get("type") not in _ERROR_EVENTS and (looked_up or _is_job(item)):
            continue
        response = inside(item, "response")
        error = item.get("error") or response.get("error")
        if isinstance(error, dict):
            error_type = error.get("type") or error.get("status") or error.get("code") or "error"
            if error_type in _LIMITED and error.get("code"):
                error_type = error["code"]
            return text(str(error_type)), text(error.get("message"))
        if isinstance(error, str):
            return text(item.get("code")) or "error", text(error)
        if item.get("type") == "error" or item.get("object") == "error":
            error_type = item.get("code") if item.get("type") == "error" else item.get("type")
            return text(str(error_type or "error")), text(item.get("message"))
        if item.get("type") == "response.failed":
            return "response.failed", ""
    return "", ""


def _is_job(item: Object) -> bool:
    """Whether the object describes a job, such as fine-tuning, an eval run or a video."""
    name = item.get("object")
    return isinstance(name, str) and name != "" and not name.startswith(_OWN_OBJECTS)


def _object(pick: bytes) -> Object | None:
    try:
        value = msgspec.json.decode(pick)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _model(objects: list[Object]) -> str:
    for event in objects:
        for item in (event, *(inside(event, name) for name in ("message", "response", "interaction"))):
            name = item.get("model") or item.get("modelVersion")
            if isinstance(name, str) and name:
                return name[:256]
    return ""
