"""Raw parts of an answer in, counts of the tool calls that may cost something out; their content stays behind."""

import msgspec

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
_HOSTED = ("web_search", "image_generation", "code_interpreter", "file_search")
_items = msgspec.json.Decoder(list[_Item])
_tools = msgspec.json.Decoder(list[_Tool])
_candidates = msgspec.json.Decoder(list[Candidate])


def count_items(raw: msgspec.Raw) -> dict[str, int]:
    """Output items that are tool calls, by type and action: {"web_search_call.search": 1}; containers they ran in."""
    counts: dict[str, int] = {}
    if not raw:
        return counts
    try:
        items = _items.decode(raw)
    except msgspec.MsgspecError:
        return counts
    containers: set[str] = set()
    for item in items:
        if item.type.endswith("_call"):
            name = f"{item.type}.{item.action.type}" if item.action and item.action.type else item.type
            counts[name[:64]] = counts.get(name[:64], 0) + 1
            if item.container_id:
                containers.add(item.container_id)
    return counts | {CONTAINERS: len(containers)} if containers else counts


def offered_tools(raw: msgspec.Raw) -> bytes:
    """The provider's own tools that were offered, as JSON with their type and model only; b"" when there are none."""
    try:
        tools = [one for one in _tools.decode(raw) if one.type.startswith(_HOSTED)]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return b""
    kept = [{"type": one.type[:64]} | ({"model": one.model[:64]} if one.model else {}) for one in tools[:_MAX_TOOLS]]
    return msgspec.json.encode(kept) if kept else b""


def read_candidates(raw: msgspec.Raw) -> list[Candidate]:
    """Gemini's candidates; [] for what is none."""
    try:
        return _candidates.decode(raw)
    except msgspec.MsgspecError:
        return []


def count_searches(candidates: list[Candidate]) -> dict[str, int]:
    """Google's queries of each kind, and whether it looked at maps: {"google_search": 2}."""
    counts = {"google_search": 0, "google_image_search": 0, "google_maps": 0}
    for candidate in candidates:
        if (grounding := candidate.groundingMetadata) is not None:
            counts["google_search"] += len(grounding.webSearchQueries)
            counts["google_image_search"] += len(grounding.imageSearchQueries)
            counts["google_maps"] |= any(one.maps for one in grounding.groundingChunks)
    return {name: count for name, count in counts.items() if count}
