"""Counts of tool calls that may cost something, read from raw parts of an answer; their content stays behind.

TooMuch for a list so long that reading it would hold others up.
"""

from typing import TypeVar

import msgspec

from services.gateway import lenient_json

CONTAINERS = "containers"  # in the counts: how many containers code ran in


class _Action(msgspec.Struct):
    type: str = ""


class _Item(msgspec.Struct):
    type: str = ""
    action: _Action | None = None
    container_id: str | None = None


class _Tool(msgspec.Struct):
    """A tool that a request offered, as the answer repeats it."""

    type: str = ""
    model: str | None = None


class _Source(msgspec.Struct):
    maps: msgspec.Raw = msgspec.Raw()


class _Grounding(msgspec.Struct):
    webSearchQueries: list[msgspec.Raw] = []
    imageSearchQueries: list[msgspec.Raw] = []
    groundingChunks: list[_Source] = []


class Candidate(msgspec.Struct):
    """One of Gemini's answers to a prompt."""

    groundingMetadata: _Grounding | None = None
    finishReason: str | None = None


_MAX_TOOLS = 4
_MAX_NAMES = 64  # of types and actions
_MOST_COMMAS = 100_000  # of one list: some 10 ms of work
_UNCOUNTED = 64 << 10  # bytes of a list that can hold no more
_HOSTED = ("web_search", "image_generation", "code_interpreter", "file_search")
_HOSTED_BYTES = tuple(f'"{name}'.encode() for name in _HOSTED)
_items = msgspec.json.Decoder(list[_Item])
_tools = msgspec.json.Decoder(list[_Tool])
_candidates = msgspec.json.Decoder(list[Candidate])

T = TypeVar("T")


def count_items(raw: msgspec.Raw) -> dict[str, int]:
    """Output items that are tool calls, by type and action: {"web_search_call.search": 1}; containers they ran in."""
    counts: dict[str, int] = {}
    if b'_call"' not in bytes(raw):
        return counts
    containers: set[str] = set()
    for item in _listed(raw, _items):
        if item.type.endswith("_call"):
            name = f"{item.type}.{item.action.type}" if item.action and item.action.type else item.type
            if name[:64] in counts or len(counts) < _MAX_NAMES:
                counts[name[:64]] = counts.get(name[:64], 0) + 1
            if item.container_id:
                containers.add(item.container_id)
    return counts | {CONTAINERS: len(containers)} if containers else counts


def offered_tools(raw: msgspec.Raw) -> bytes:
    """The same as `read_offered`, and b"" also for a list that is too long."""
    try:
        return read_offered(raw)
    except lenient_json.TooMuch:
        return b""


def read_offered(raw: msgspec.Raw) -> bytes:
    """The provider's own tools that were offered, as JSON with their type and model only; b"" when there are none."""
    text = bytes(raw)
    if not any(name in text for name in _HOSTED_BYTES):
        return b""
    tools = [one for one in _listed(raw, _tools) if one.type.startswith(_HOSTED)]
    kept = [{"type": one.type[:64]} | ({"model": one.model[:64]} if one.model else {}) for one in tools[:_MAX_TOOLS]]
    return msgspec.json.encode(kept) if kept else b""


def read_candidates(raw: msgspec.Raw) -> list[Candidate]:
    """Gemini's candidates; [] for what is none."""
    return _listed(raw, _candidates)


def _listed(raw: msgspec.Raw, decoder: msgspec.json.Decoder[list[T]]) -> list[T]:
    """The list; [] for what is none."""
    if len(text := bytes(raw)) > _UNCOUNTED and text.count(b",") > _MOST_COMMAS:
        raise lenient_json.TooMuch
    return lenient_json.decode(text, decoder) or []


def count_searches(candidates: list[Candidate]) -> dict[str, int]:
    """Google's queries of each kind, and whether it looked at maps: {"google_search": 2}."""
    counts = {"google_search": 0, "google_image_search": 0, "google_maps": 0}
    for candidate in candidates:
        if (grounding := candidate.groundingMetadata) is not None:
            counts["google_search"] += len(grounding.webSearchQueries)
            counts["google_image_search"] += len(grounding.imageSearchQueries)
            counts["google_maps"] |= any(one.maps for one in grounding.groundingChunks)
    return {name: count for name, count in counts.items() if count}
