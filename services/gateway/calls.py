"""Raw parts of an answer in, counts of the tool calls that may cost something out; their content stays behind."""

import msgspec


class _Action(msgspec.Struct):
    type: str = ""


class _Item(msgspec.Struct):
    type: str = ""
    action: _Action | None = None


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


_items = msgspec.json.Decoder(list[_Item])
_candidates = msgspec.json.Decoder(list[Candidate])


def count_items(raw: msgspec.Raw) -> dict[str, int]:
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
