"""Counts of tool calls that may cost something.

They are read from raw parts of a response, whose content stays behind. WorkLimitExceeded for a list so long that
reading it would delay other requests.
"""

from typing import Any, Generic, TypeVar

import msgspec

from services.gateway.parsing import lenient_json

CONTAINERS = "containers"  # in the counts: how many containers code ran in


class _Item(msgspec.Struct):
    """An item of an output. Fields of other kinds of items may bear the same names and any type."""

    type: Any = ""
    action: Any = None
    container_id: Any = None


class _Tool(msgspec.Struct):
    """A tool that a request offered, as the response repeats it."""

    type: Any = ""
    model: Any = None


class _Source(msgspec.Struct):
    maps: msgspec.Raw = msgspec.Raw()


class _Grounding(msgspec.Struct):
    webSearchQueries: list[msgspec.Raw] | None = None
    imageSearchQueries: list[msgspec.Raw] | None = None
    groundingChunks: list[_Source] | None = None


class Candidate(msgspec.Struct):
    """One of Gemini's candidates for a prompt."""

    groundingMetadata: _Grounding | None = None
    finishReason: str | None = None
    index: Any = 0  # left out for the first one


_MAX_TOOLS = 4
_MAX_NAMES = 64  # of types and actions
_MOST_COMMAS = 100_000  # of one list: some 10 ms of work
_UNCOUNTED = 64 << 10  # bytes of a list that can hold no more
_HOSTED = ("web_search", "image_generation", "code_interpreter", "file_search")
_HOSTED_BYTES = tuple(f'"{name}'.encode() for name in _HOSTED)
_NO_QUERY = {b'""', b"null"}
_SHORTEST = 16  # bytes of a list that holds a tool
_MOST_ODD = 5_000  # elements of a list that are read one by one

T = TypeVar("T")


class _List(Generic[T]):
    """Reads a JSON list of objects, without those that are none."""

    def __init__(self, kind: type[T]) -> None:
        self._whole = msgspec.json.Decoder(list[kind])  # type: ignore[valid-type]
        self._one = msgspec.json.Decoder(kind)

    def read(self, raw: msgspec.Raw) -> list[T]:
        """The list; [] when it is not one."""
        if len(text := bytes(raw)) > _UNCOUNTED and text.count(b",") > _MOST_COMMAS:
            raise lenient_json.WorkLimitExceeded
        if (calls := lenient_json.decode(text, self._whole)) is not None:
            return calls
        parts = lenient_json.decode(text, _parts) or []
        if len(parts) > _MOST_ODD:
            raise lenient_json.WorkLimitExceeded
        return [one for part in parts if (one := lenient_json.decode(bytes(part), self._one)) is not None]


_parts = msgspec.json.Decoder(list[msgspec.Raw])
_items = _List(_Item)
_tools = _List(_Tool)
_candidates = _List(Candidate)


def count_items(raw: msgspec.Raw) -> dict[str, int]:
    """Tool calls of an output, by type and action, and containers they ran in.

    `{"web_search_call.search": 1}`
    """
    counts: dict[str, int] = {}
    if b'_call"' not in bytes(raw):
        return counts
    containers: set[str] = set()
    for item in _items.read(raw):
        if isinstance(item.type, str) and item.type.endswith("_call"):
            action = item.action.get("type") if isinstance(item.action, dict) else None
            name = f"{item.type}.{action}" if isinstance(action, str) and action else item.type
            if name[:64] in counts or len(counts) < _MAX_NAMES:
                counts[name[:64]] = counts.get(name[:64], 0) + 1
            if isinstance(item.container_id, str) and item.container_id:
                containers.add(item.container_id)
    return counts | {CONTAINERS: len(containers)} if containers else counts


def offered_tools(raw: msgspec.Raw) -> bytes:
    """The same as `read_offered`, and b"" also for a list that is too long."""
    try:
        return read_offered(raw)
    except lenient_json.WorkLimitExceeded:
        return b""


def read_offered(raw: msgspec.Raw) -> bytes:
    """The provider's own tools that were offered, as JSON; b"" for none.

    Only their type and model are kept.
    """
    text = bytes(raw)
    if len(text) < _SHORTEST or not any(name in text for name in _HOSTED_BYTES):
        return b""
    kept: list[dict[str, str]] = []
    for one in _tools.read(raw):
        if isinstance(one.type, str) and one.type.startswith(_HOSTED) and len(kept) < _MAX_TOOLS:
            model = {"model": one.model[:64]} if isinstance(one.model, str) and one.model else {}
            kept.append({"type": one.type[:64]} | model)
    return msgspec.json.encode(kept) if kept else b""


def read_candidates(raw: msgspec.Raw) -> list[Candidate]:
    """Gemini's candidates; [] when they cannot be read."""
    return _candidates.read(raw)


def count_searches(candidates: list[Candidate]) -> dict[str, int]:
    """Google's queries of each kind, and whether maps were used.

    `{"google_search": 2}`. Google bills a query once, and empty ones, which responses list too, not at all.
    """
    web: set[bytes] = set()
    images: set[bytes] = set()
    maps = False
    for candidate in candidates:
        if (grounding := candidate.groundingMetadata) is not None:
            web.update(map(bytes, grounding.webSearchQueries or ()))
            images.update(map(bytes, grounding.imageSearchQueries or ()))
            maps = maps or any(one.maps for one in grounding.groundingChunks or ())
    counts = {
        "google_search": len(web - _NO_QUERY),
        "google_image_search": len(images - _NO_QUERY),
        "google_maps": int(maps),
    }
    return {name: count for name, count in counts.items() if count}
