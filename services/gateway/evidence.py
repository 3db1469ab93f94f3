"""What an answer says about money: picked out of JSON without understanding it, everything else left behind."""

import contextlib
import json
import re
from collections import deque
from collections.abc import Iterable

import msgspec

from shared.contract import Evidence

MAX_EVIDENCE = 64 << 10
_MOST_CUT = 1 << 20  # bytes of an array that was cut off, beyond which its whole elements are not looked for
_MOST_BRACES = 32  # that the element may hold in which it was cut
_USAGE = re.compile(rb'"(usage|usageMetadata|usage_info)"\s*:\s*(?=\{)')
_TYPE = re.compile(rb'"type"\s*:\s*"([\w.]{1,64})"')
_MODEL = re.compile(rb'"(model|modelVersion)"\s*:\s*("[^"\\]{1,256}")')


class Pick(msgspec.Struct):
    """The top-level keys that may bear on money. What is not here never leaves the gateway."""

    model: msgspec.Raw = msgspec.Raw()
    modelVersion: msgspec.Raw = msgspec.Raw()
    usage: msgspec.Raw = msgspec.Raw()
    usageMetadata: msgspec.Raw = msgspec.Raw()
    usage_info: msgspec.Raw = msgspec.Raw()
    service_tier: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()
    type: msgspec.Raw = msgspec.Raw()
    code: msgspec.Raw = msgspec.Raw()
    object: msgspec.Raw = msgspec.Raw()
    status: msgspec.Raw = msgspec.Raw()
    endpoint: msgspec.Raw = msgspec.Raw()
    message: msgspec.Raw = msgspec.Raw()  # Anthropic's message_start, or an error's text
    response: msgspec.Raw = msgspec.Raw()  # events of the Responses API
    output: msgspec.Raw = msgspec.Raw()  # only counted
    candidates: msgspec.Raw = msgspec.Raw()  # only counted


class _Inner(msgspec.Struct):
    """The same for an object inside: Anthropic's `message`, the Responses API's `response`."""

    id: msgspec.Raw = msgspec.Raw()
    model: msgspec.Raw = msgspec.Raw()
    usage: msgspec.Raw = msgspec.Raw()
    service_tier: msgspec.Raw = msgspec.Raw()
    status: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()
    incomplete_details: msgspec.Raw = msgspec.Raw()
    output: msgspec.Raw = msgspec.Raw()


class _Action(msgspec.Struct):
    type: str = ""


class _Item(msgspec.Struct):
    type: str = ""
    action: _Action | None = None


class _Grounding(msgspec.Struct):
    webSearchQueries: list[msgspec.Raw] = []


class _Candidate(msgspec.Struct):
    groundingMetadata: _Grounding | None = None


_pick = msgspec.json.Decoder(Pick)
_inner = msgspec.json.Decoder(_Inner)
_items = msgspec.json.Decoder(list[_Item])
_candidates = msgspec.json.Decoder(list[_Candidate])
_array = msgspec.json.Decoder(list[msgspec.Raw])
_PLAIN = tuple(
    (name, b'"%s":' % name.encode())
    for name in Pick.__struct_fields__
    if name not in ("message", "response", "output", "candidates")
)
_INNER = tuple((name, b'"%s":' % name.encode()) for name in _Inner.__struct_fields__ if name != "output")


class Picked(msgspec.Struct):
    """One JSON object's pick."""

    json: bytes
    usage: bool  # it has a usage object
    error: bool  # it says that something went wrong
    type: str
    tools: dict[str, int] = {}


def pick(document: bytes | memoryview) -> Picked | None:
    """What one JSON object says about money; None when it is no JSON object."""
    try:
        found = _pick.decode(document)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    parts = [prefix + bytes(raw) for name, prefix in _PLAIN if (raw := getattr(found, name))]
    tools = _count_items(found.output)
    if found.candidates:
        tools |= _count_searches(found.candidates)
    kind = bytes(found.type).strip(b'"')
    error = kind == b"error" or bytes(found.object) == b'"error"' or bytes(found.error) not in (b"", b"null")
    usage = any(bytes(raw)[:1] == b"{" for raw in (found.usage, found.usageMetadata, found.usage_info))
    for name in ("message", "response"):
        raw = getattr(found, name)
        if bytes(raw)[:1] == b"{" and (inner := _inside(raw)):
            parts.append(b'"%s":{%s}' % (name.encode(), inner[0]))
            usage, tools = usage or inner[1], tools | inner[2]
        elif name == "message" and error and raw:
            parts.append(b'"message":%s' % bytes(raw))
    return Picked(
        b"{%s}" % b",".join(parts), usage, error or kind == b"response.failed", kind.decode("ascii", "replace"), tools
    )


def _inside(raw: msgspec.Raw) -> tuple[bytes, bool, dict[str, int]] | None:
    try:
        found = _inner.decode(raw)
    except msgspec.MsgspecError:
        return None
    parts = [prefix + bytes(value) for name, prefix in _INNER if (value := getattr(found, name))]
    return b",".join(parts), bytes(found.usage)[:1] == b"{", _count_items(found.output)


def _count_items(raw: msgspec.Raw) -> dict[str, int]:
    """Output items that are tool calls, by type and action: {"web_search_call.search": 1}."""
    counts: dict[str, int] = {}
    if not raw:
        return counts
    try:
        items = _items.decode(raw)
    except msgspec.MsgspecError:
        return counts
    for item in items:
        if item.type.endswith("_call"):
            name = f"{item.type}.{item.action.type}" if item.action and item.action.type else item.type
            counts[name[:64]] = counts.get(name[:64], 0) + 1
    return counts


def _count_searches(raw: msgspec.Raw) -> dict[str, int]:
    try:
        candidates = _candidates.decode(raw)
    except msgspec.MsgspecError:
        return {}
    queries = sum(
        len(candidate.groundingMetadata.webSearchQueries) for candidate in candidates if candidate.groundingMetadata
    )
    return {"google_search": queries} if queries else {}


def elements(document: bytes) -> list[bytes]:
    """The elements of a JSON array as raw JSON, of one that was cut off those that came whole; [] when it is none."""
    whole, end = document, len(document)
    for _ in range(_MOST_BRACES):
        try:
            return [bytes(raw) for raw in _array.decode(whole)]
        except msgspec.MsgspecError:
            end = document.rfind(b"}", 0, end)
        if end < 0 or len(document) > _MOST_CUT:
            break
        whole = document[: end + 1] + b"]"
    return []


def pick_clipped(head: bytes, tail: bytes) -> Picked | None:
    """The pick of a document whose middle was too long to keep: its last usage object, and its model.

    An unescaped `"usage":{` can't stand inside a JSON string, so only a nested object could deceive here.
    """
    model = _MODEL.search(head) or _MODEL.search(tail)
    parts = [b'"%s":%s' % (model.group(1), model.group(2))] if model else []
    usage = deque(_USAGE.finditer(tail), maxlen=1)
    known = False
    for match in usage:
        with contextlib.suppress(ValueError):
            value, _ = json.JSONDecoder().raw_decode(tail[match.end() :].decode("utf-8", "replace"))
            parts.append(b'"%s":%s' % (match.group(1), msgspec.json.encode(value)))
            known = True
    kind = _TYPE.search(head)
    name = kind.group(1).decode() if kind else ""
    return Picked(b"{%s}" % b",".join(parts), known, False, name) if parts else None


def collect(picked: Iterable[Picked | None], *, truncated: bool) -> tuple[tuple[bytes, ...], dict[str, int], bool]:
    """Picks in order within the size limit: (JSON objects, tool counts, truncated). Those without usage go first."""
    present = [one for one in picked if one is not None]
    tools: dict[str, int] = {}
    for one in present:
        tools.update(one.tools)
    while sum(len(one.json) for one in present) > MAX_EVIDENCE:
        truncated = True
        spare = next((one for one in present if not one.usage), present[0])
        present.remove(spare)
    return tuple(one.json for one in present), tools, truncated


NOTHING = Evidence()
