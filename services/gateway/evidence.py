"""What an answer says about money: picked out of JSON without understanding it, everything else left behind."""

import contextlib
import json
import re
from collections import deque
from collections.abc import Iterable
from typing import Any

import msgspec

from services.gateway.calls import count_items, count_searches, offered_tools, read_candidates
from services.gateway.tally import inlined
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
    background: msgspec.Raw = msgspec.Raw()
    svg_usage: msgspec.Raw = msgspec.Raw()
    tool_usage: msgspec.Raw = msgspec.Raw()  # of hosted tools: an image model's tokens, searches
    request_id: msgspec.Raw = msgspec.Raw()  # of an answer that is to be fetched later
    event_type: msgspec.Raw = msgspec.Raw()  # of Gemini's interactions
    message: msgspec.Raw = msgspec.Raw()  # Anthropic's message_start, or an error's text
    response: msgspec.Raw = msgspec.Raw()  # events of the Responses API
    interaction: msgspec.Raw = msgspec.Raw()  # events of Gemini's interactions
    output: msgspec.Raw = msgspec.Raw()  # only counted
    tools: msgspec.Raw = msgspec.Raw()  # type and model of the provider's own
    candidates: msgspec.Raw = msgspec.Raw()  # only counted, and looked at for the end
    promptFeedback: msgspec.Raw = msgspec.Raw()  # only looked at for the end


class _Inner(msgspec.Struct):
    """The same for an object inside: Anthropic's `message`, the Responses API's `response`, Gemini's `interaction`."""

    id: msgspec.Raw = msgspec.Raw()
    model: msgspec.Raw = msgspec.Raw()
    usage: msgspec.Raw = msgspec.Raw()
    service_tier: msgspec.Raw = msgspec.Raw()
    status: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()
    incomplete_details: msgspec.Raw = msgspec.Raw()
    background: msgspec.Raw = msgspec.Raw()
    tool_usage: msgspec.Raw = msgspec.Raw()
    output: msgspec.Raw = msgspec.Raw()
    tools: msgspec.Raw = msgspec.Raw()
    inlinedResponses: msgspec.Raw = msgspec.Raw()  # of a Gemini batch: only added up


class _Feedback(msgspec.Struct):
    blockReason: str | None = None


_pick = msgspec.json.Decoder(Pick)
_inner = msgspec.json.Decoder(_Inner)
_feedback = msgspec.json.Decoder(_Feedback)
_json = json.JSONDecoder()
_array = msgspec.json.Decoder(list[msgspec.Raw])
_OBJECTS = ("message", "response", "interaction")
_PLAIN = tuple(
    (name, b'"%s":' % name.encode())
    for name in Pick.__struct_fields__
    if name not in (*_OBJECTS, "output", "tools", "candidates", "promptFeedback")
)
_INNER = tuple((name, b'"%s":' % name.encode()) for name in _Inner.__struct_fields__[:-3])


class Picked(msgspec.Struct):
    """One JSON object's pick."""

    json: bytes
    usage: bool  # it has a usage object
    error: bool  # it says that something went wrong
    type: str
    tools: dict[str, int] = {}
    candidates: bool = False  # it has Gemini's candidates
    finished: bool = False  # Gemini says in it that an answer, or its refusal, is over


def pick(document: bytes | memoryview) -> Picked | None:
    """What one JSON object says about money; None when it is no JSON object."""
    try:
        found = _pick.decode(document)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    parts = [prefix + bytes(raw) for name, prefix in _PLAIN if (raw := getattr(found, name))]
    if found.tools and (offered := offered_tools(found.tools)):
        parts.append(b'"tools":' + offered)
    tools = count_items(found.output)
    candidates = read_candidates(found.candidates) if found.candidates else []
    if candidates:
        tools |= count_searches(candidates)
    kind = bytes(found.type).strip(b'"')
    error = kind == b"error" or bytes(found.object) == b'"error"' or bytes(found.error) not in (b"", b"null")
    usage = any(bytes(raw)[:1] == b"{" for raw in (found.usage, found.usageMetadata, found.usage_info))
    for name in _OBJECTS:
        raw = getattr(found, name)
        if bytes(raw)[:1] == b"{" and (inner := _inside(raw)):
            if inner[3]:
                return Picked(msgspec.json.encode(inner[3]), True, False, "")
            parts.append(b'"%s":{%s}' % (name.encode(), inner[0]))
            usage, tools = usage or inner[1], tools | inner[2]
        elif name == "message" and error and raw:
            parts.append(b'"message":%s' % bytes(raw))
    return Picked(
        b"{%s}" % b",".join(parts),
        usage,
        error or kind == b"response.failed",
        kind.decode("ascii", "replace"),
        tools,
        candidates=bool(candidates),
        finished=any(one.finishReason for one in candidates) or _refuses(found.promptFeedback),
    )


def _inside(raw: msgspec.Raw) -> tuple[bytes, bool, dict[str, int], dict[str, Any]] | None:
    """(JSON fields, whether there is usage, tool calls, the sum over a batch's answers)."""
    try:
        found = _inner.decode(raw)
    except msgspec.MsgspecError:
        return None
    parts = [prefix + bytes(value) for name, prefix in _INNER if (value := getattr(found, name))]
    if found.tools and (offered := offered_tools(found.tools)):
        parts.append(b'"tools":' + offered)
    return b",".join(parts), bytes(found.usage)[:1] == b"{", count_items(found.output), _batch(found)


def _batch(found: _Inner) -> dict[str, Any]:
    return inlined(found.inlinedResponses) if found.inlinedResponses else {}


def _refuses(raw: msgspec.Raw) -> bool:
    try:
        return bool(raw) and bool(_feedback.decode(raw).blockReason)
    except msgspec.MsgspecError:
        return False


def elements(document: bytes) -> list[bytes]:
    """The elements of a JSON array as raw JSON; of one that broke off, those that are whole."""
    try:
        return [bytes(raw) for raw in _array.decode(document)]
    except msgspec.MsgspecError:
        return _whole_elements(document.decode("utf-8", "replace"))


def _whole_elements(text: str) -> list[bytes]:
    found: list[bytes] = []
    start = text.find("{")
    while start >= 0:
        try:
            _, end = _json.raw_decode(text, start)
        except (ValueError, RecursionError):
            break
        found.append(text[start:end].encode())
        start = text.find("{", end)
    return found


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
            value, _ = _json.raw_decode(tail[match.end() :].decode("utf-8", "replace"))
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
        for name, count in one.tools.items():
            tools[name] = max(count, tools.get(name, 0))  # counts of a stream grow, or stand in one event of it
    while sum(len(one.json) for one in present) > MAX_EVIDENCE:
        truncated = True
        spare = next((one for one in present if not one.usage), present[0])
        present.remove(spare)
    return tuple(one.json for one in present), tools, truncated


NOTHING = Evidence()
