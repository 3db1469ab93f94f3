"""Evidence of a response's cost, extracted from its JSON.

It is not interpreted here. Everything else is left behind.
"""

import json
import re
from collections.abc import Iterable

import msgspec

from services.gateway.parsing import lenient_json
from services.gateway.parsing.json_skeleton import reduced
from services.gateway.usage import usage_names
from services.gateway.usage.batch_lines import inlined
from services.gateway.usage.picked_keys import COUNTED, IN_ERROR, INNER, MESSAGE, OBJECTS, PLAIN, Inner, Pick
from services.gateway.usage.tool_calls import count_items, count_searches, read_candidates, read_offered
from shared import events
from shared.events import Evidence

MAX_EVIDENCE = 64 << 10  # bytes of all picks of a response
_MAX_PART = 4 << 10  # bytes of one value that are passed on as they are
_MAX_NAME = 256  # characters of a longer one that is a name
_MAX_MESSAGE = 4 << 10  # and of an error's text
_CLIP = 16 << 10
# Values of the member `error` that state none: some servers write the member in each chunk.
NO_ERROR = frozenset({b"", b"null", b"false", b"0", b'""', b"{}", b"[]"})
_USAGE = re.compile(rb'"(usage|usageMetadata|usage_info)"\s*:\s*(?=\{)')
_TYPE = re.compile(rb'"type"\s*:\s*"([\w.]{1,64})"')
_MODEL = re.compile(rb'"(model|modelVersion)"\s*:\s*("[^"\\]{1,256}")')


class _Feedback(msgspec.Struct):
    blockReason: str | None = None


_pick = msgspec.json.Decoder(Pick)
_encode = msgspec.json.Encoder().encode
_inner = msgspec.json.Decoder(Inner)
_feedback = msgspec.json.Decoder(_Feedback)
_error = msgspec.json.Decoder(dict[str, msgspec.Raw])
_string = msgspec.json.Decoder(str)
_json = json.JSONDecoder()


class Picked(msgspec.Struct):
    """One JSON object's pick."""

    json: bytes
    usage: bool  # it has a usage object
    error: bool  # it says that something went wrong
    type: str
    tools: dict[str, int] = {}
    candidates: tuple[tuple[int, bool], ...] = ()  # Gemini's: (index, whether it is finished)
    refused: bool = False  # Gemini blocked the prompt: no candidate will follow
    missing: tuple[str, ...] = ()  # of what bears on money, events.GAP_*


class _Parts:
    """Collects the fields of a pick, each within its size."""

    __slots__ = ("fields", "missing", "tools")

    def __init__(self) -> None:
        self.fields: list[bytes] = []
        self.missing: tuple[str, ...] = ()
        self.tools: dict[str, int] = {}

    def add_all(self, found: Pick | Inner, names: tuple[tuple[str, bytes], ...]) -> None:
        """Add the fields that an object has, of (name, prefix)."""
        fields = self.fields
        for name, prefix in names:
            if raw := getattr(found, name):
                value = bytes(raw)
                if len(value) <= _MAX_PART or (value := self._shortened(name, value)):
                    fields.append(prefix + value)

    def add_tools(self, output: msgspec.Raw, offered: msgspec.Raw) -> None:
        """Count tool calls, and add the tools that were offered."""
        try:
            if offered and (tools := read_offered(offered)):
                self.fields.append(b'"tools":' + tools)
            if output:
                self.tools |= count_items(output)
        except lenient_json.WorkLimitExceeded:
            self.missing = (*self.missing, events.GAP_TOOLS)

    def _shortened(self, name: str, value: bytes) -> bytes:
        if name in COUNTED:
            known, whole = usage_names.known_counts(value)
            self.missing = (*self.missing, events.GAP_NAMES if whole else events.GAP_USAGE)
            return known
        if value[:1] == b'"':
            text = lenient_json.decode(value, _string) or ""
            return msgspec.json.encode(text[: _MAX_MESSAGE if name in ("error", "message") else _MAX_NAME])
        fields = (lenient_json.decode(value, _error) if name == "error" else None) or {}
        kept = {key: self._shortened(key, bytes(fields[key])) for key in IN_ERROR if key in fields}
        listed = b",".join(b'"%s":%s' % (key.encode(), one) for key, one in kept.items() if one)
        return b"{%s}" % listed if name == "error" else (value if len(value) <= _MAX_NAME else b"")


def pick(document: bytes | memoryview, *, failed: bool = False) -> Picked | None:
    """What one JSON object says about money; None when it is no JSON object.

    `failed`: an event's name says that it is an error, whatever its data says.
    """
    try:
        return _picked(_pick.decode(document), failed=failed)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    try:
        picked = lenient_json.read(document, _pick)
    except lenient_json.WorkLimitExceeded:
        return _pick_reduced(bytes(document))
    if picked is None and failed:
        text = bytes(document[:_MAX_MESSAGE]).decode("utf-8", "replace").strip()
        return Picked(msgspec.json.encode({"type": "error", "message": text}), False, True, "error")
    return None if picked is None else _picked(picked, failed=failed)


def _picked(fields: Pick, *, failed: bool = False) -> Picked:
    kind = bytes(fields.type).strip(b'"')
    error = kind == b"error" or bytes(fields.object) == b'"error"' or bytes(fields.error) not in NO_ERROR
    usage = b"{" in (bytes(fields.usage)[:1], bytes(fields.usageMetadata)[:1], bytes(fields.usage_info)[:1])
    if not (failed or _has_more(fields)) and len(encoded := _encode(fields)) <= _MAX_PART:
        name = kind[:64].decode("ascii", "replace")
        return Picked(encoded, usage, error or kind == b"response.failed", name)
    parts = _Parts()
    parts.add_all(fields, PLAIN)
    if fields.output or fields.tools:
        parts.add_tools(fields.output, fields.tools)
    candidates = _read_candidates(fields.candidates, parts) if fields.candidates else ()
    for name in OBJECTS:
        raw = getattr(fields, name)
        if not raw:
            continue
        if bytes(raw)[:1] == b"{" and (inner := lenient_json.decode(raw, _inner)):
            if inner.inlinedResponses and (sums := _inlined(inner.inlinedResponses)):
                return sums
            parts.fields.append(b'"%s":{%s}' % (name.encode(), _inside(inner, parts)))
            usage = usage or bytes(inner.usage)[:1] == b"{"
        elif name == "message" and error:
            parts.add_all(fields, MESSAGE)
    if failed and not error:
        parts.fields.append(b'"error":{%s}' % _unnamed_error(fields))
        error = True
    return Picked(
        b"{%s}" % b",".join(parts.fields),
        usage,
        error or kind == b"response.failed",
        kind[:64].decode("ascii", "replace"),
        parts.tools,
        candidates=candidates,
        refused=bool(fields.promptFeedback) and _refuses(fields.promptFeedback),
        missing=parts.missing,
    )


def _has_more(fields: Pick) -> bool:
    """Whether a pick has fields that are not passed on as they are."""
    return bool(
        fields.message
        or fields.response
        or fields.interaction
        or fields.output
        or fields.tools
        or fields.candidates
        or fields.promptFeedback
    )


def _unnamed_error(fields: Pick) -> bytes:
    """Fields of an error that are the event's own."""
    named = (("type", bytes(fields.type)), ("message", bytes(fields.message)))
    return b",".join(
        b'"%s":%s' % (name.encode(), raw) for name, raw in named if raw[:1] == b'"' and len(raw) <= _MAX_PART
    )


def _inside(fields: Inner, parts: _Parts) -> bytes:
    """The fields of an object inside; its tool calls are counted."""
    inner = _Parts()
    inner.add_all(fields, INNER)
    if fields.output or fields.tools:
        inner.add_tools(fields.output, fields.tools)
    parts.tools |= inner.tools
    parts.missing += inner.missing
    return b",".join(inner.fields)


def _read_candidates(raw: msgspec.Raw, parts: _Parts) -> tuple[tuple[int, bool], ...]:
    """(index, whether it is finished) of each candidate; their searches are counted."""
    try:
        candidates = read_candidates(raw)
    except lenient_json.WorkLimitExceeded:
        parts.missing = (*parts.missing, events.GAP_TOOLS)
        return ((0, b'"finishReason"' in bytes(raw)),)
    parts.tools |= count_searches(candidates)
    return tuple([(one.index if type(one.index) is int else 0, bool(one.finishReason)) for one in candidates])


def _inlined(raw: msgspec.Raw) -> Picked | None:
    """The sum over the responses of a batch that stand in one document."""
    try:
        sums = inlined(raw)
    except lenient_json.WorkLimitExceeded:
        return Picked(b"", False, False, "", missing=(events.GAP_LINES,))
    return Picked(msgspec.json.encode(sums), True, False, "") if sums else None


def _refuses(raw: msgspec.Raw) -> bool:
    feedback = lenient_json.decode(raw, _feedback)
    return feedback is not None and bool(feedback.blockReason)


def _pick_reduced(document: bytes) -> Picked:
    """The pick of a document that only a bounded copy, or its first and last bytes, can be read of."""
    text = reduced(document)
    try:
        fields = None if text is None else lenient_json.read(text, _pick)
    except lenient_json.WorkLimitExceeded:
        fields = None
    if fields is not None:
        return _picked(fields)
    return pick_clipped(document[:_CLIP], document[-_CLIP:]) or Picked(b"", False, False, "", missing=events.GAPS_ALL)


def pick_clipped(head: bytes, tail: bytes) -> Picked | None:
    """The pick of a document whose middle was too long: last usage and model.

    An unescaped `"usage":{` can't be inside a JSON string, so only a nested object could deceive here.
    """
    model = _MODEL.search(head) or _MODEL.search(tail)
    parts = [b'"%s":%s' % (model.group(1), model.group(2))] if model else []
    known = False
    for match in list(_USAGE.finditer(tail))[-1:]:
        try:
            value, _ = _json.raw_decode(tail[match.end() :].decode("utf-8", "replace"))
            usage = msgspec.json.encode(value)
        except (ValueError, RecursionError):
            continue
        if len(usage) > _MAX_PART:
            usage, _ = usage_names.known_counts(usage)
        parts.append(b'"%s":%s' % (match.group(1), usage))
        known = True
    kind = _TYPE.search(head)
    name = kind.group(1).decode() if kind else ""
    missing = (events.GAP_TOOLS,) if known else events.GAPS_ALL
    return Picked(b"{%s}" % b",".join(parts), known, False, name, missing=missing) if parts else None


def collect(picked: Iterable[Picked | None], *, truncated: bool) -> tuple[tuple[bytes, ...], dict[str, int], bool]:
    """(picks as JSON, tool counts, truncated), in order within the size limit.

    Errors are dropped first.
    """
    present = [one for one in picked if one is not None]
    if len(present) == 1 and len(present[0].json) <= MAX_EVIDENCE:
        only = present[0]
        return (only.json,) if only.json else (), only.tools, truncated or bool(only.missing)
    tools: dict[str, int] = {}
    for one in present:
        truncated |= bool(one.missing)
        for name, count in one.tools.items():
            tools[name] = max(count, tools.get(name, 0))  # counts of a stream grow, or stand in one event of it
    while sum(len(one.json) for one in present) > MAX_EVIDENCE:
        truncated = True
        spare = [one for one in present if one.error and not one.usage] or [one for one in present if not one.usage]
        present.remove(spare[-1] if spare else present[0])
    return tuple(one.json for one in present if one.json), tools, truncated


def missing_of(picked: Iterable[Picked | None]) -> tuple[str, ...]:
    """What is missing of any of the picks, each named once."""
    return tuple(dict.fromkeys(name for one in picked if one is not None for name in one.missing))


NOTHING = Evidence()
