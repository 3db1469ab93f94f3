"""Line items: usage split into disjoint quantities, so nothing is charged twice."""

from decimal import Decimal

import msgspec

from shared.usage import Usage

_MILLION = Decimal(10) ** 6
_THOUSAND = Decimal(10) ** 3
_HOUR = Decimal(3600)

# Billable tool → genai-prices' unit. Other tools are priced by rows of overrides.toml, unit "<tool>_kcount".
_TOOL_UNITS = {
    "web_search": "web_searches_kcount",
    "google_search": "web_searches_kcount",
    "file_search": "storage_searches_kcount",
}
_FREE_TOOLS = frozenset({"web_fetch"})
TOOLS = "tools"

_COUNTS = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "cache_write_30m_tokens",
    "cache_write_12h_tokens",
    "reasoning_tokens",
)


class Item(msgspec.Struct, frozen=True):
    """A quantity and its possible units; the first unit that has a price applies."""

    cost_class: str
    units: tuple[str, ...]
    amount: Decimal
    per: Decimal  # the amount that one price is for


class _Input(msgspec.Struct, frozen=True):
    """Fresh and cached input tokens by modality: text, image, audio, video."""

    fresh: dict[str, int]
    cached: dict[str, int]


_MODALITIES = ("text", "image", "audio", "video")
_NO_TOKENS = dict.fromkeys(_MODALITIES, 0)


def items(usage: Usage, *, text_first: bool = True) -> list[Item]:
    """Split one model's usage into line items, ignoring `usage.parts` (see `shares`).

    Cached and cache-written tokens of unknown modality count as text as far as there is text, then as the other
    modalities; `text_first` False reverses the order.
    """
    return [*_tokens(usage, text_first=text_first), *_other(usage)]


def contradicts(usage: Usage) -> bool:
    """Whether a part is larger than its total, so that no disjoint split exists."""
    cached = usage.cache_read_audio_tokens + usage.cache_read_image_tokens + usage.cache_read_video_tokens
    special_in = usage.input_audio_tokens + usage.input_image_tokens + usage.input_video_tokens
    special_out = usage.output_audio_tokens + usage.output_image_tokens + usage.output_video_tokens
    return (
        max(usage.cache_read_tokens, cached) + _writes(usage) > (usage.input_tokens or 0)
        or special_in > (usage.input_tokens or 0)
        or special_out > (usage.output_tokens or 0)
        or usage.cache_read_audio_tokens > usage.input_audio_tokens
        or usage.cache_read_image_tokens > usage.input_image_tokens
        or usage.cache_read_video_tokens > usage.input_video_tokens
        or usage.annotated_pages > usage.pages
    )


def may_be_cached_otherwise(usage: Usage) -> bool:
    """Whether the modality of the cached or cache-written tokens is ambiguous."""
    known = (
        usage.cache_read_text_tokens
        + usage.cache_read_audio_tokens
        + usage.cache_read_image_tokens
        + usage.cache_read_video_tokens
    )
    unknown = usage.cache_read_tokens - known + _writes(usage)
    mixed = usage.input_audio_tokens + usage.input_image_tokens + usage.input_video_tokens
    return unknown > 0 and mixed > 0


def _writes(usage: Usage) -> int:
    return (
        usage.cache_write_5m_tokens
        + usage.cache_write_1h_tokens
        + usage.cache_write_30m_tokens
        + usage.cache_write_12h_tokens
    )


def shares(usage: Usage) -> list[Usage]:
    """Split usage into its `parts` and the rest, each priced by its own model."""
    if not usage.parts:
        return [usage]
    inherited = {"service_tier": usage.service_tier, "geo": usage.geo, "speed": usage.speed}
    parts = [msgspec.structs.replace(part, model=part.model or usage.model, **inherited) for part in usage.parts]
    left = {name: max((getattr(usage, name) or 0) - _sum(parts, name), 0) for name in _COUNTS}
    return [msgspec.structs.replace(usage, parts=(), **left), *parts]


def _sum(parts: list[Usage], name: str) -> int:
    return sum(getattr(part, name) or 0 for part in parts)


def _tokens(usage: Usage, *, text_first: bool) -> list[Item]:
    split = _input(usage, text_first=text_first)
    fresh = split.fresh
    cached = split.cached
    plain_out = (
        (usage.output_tokens or 0) - usage.output_audio_tokens - usage.output_image_tokens - usage.output_video_tokens
    )
    rows = [
        ("input", ("input_mtok",), fresh["text"]),
        ("input_audio", ("input_audio_mtok", "input_mtok"), fresh["audio"]),
        ("input_image", ("input_image_mtok", "input_mtok"), fresh["image"]),
        ("input_video", ("input_video_mtok", "input_mtok"), fresh["video"]),
        ("cache_read", ("cache_read_mtok", "input_mtok"), cached["text"]),
        ("cache_read", _cached("audio"), cached["audio"]),
        ("cache_read", _cached("image"), cached["image"]),
        ("cache_read", _cached("video"), cached["video"]),
        ("cache_write", ("cache_write_mtok",), usage.cache_write_5m_tokens + usage.cache_write_30m_tokens),
        ("cache_write", ("cache_write_1h_mtok",), usage.cache_write_1h_tokens),
        ("cache_write", ("cache_write_12h_mtok",), usage.cache_write_12h_tokens),
        ("output", ("output_mtok",), plain_out),
        ("output_audio", ("output_audio_mtok", "output_mtok"), usage.output_audio_tokens),
        ("output_image", ("output_image_mtok", "output_mtok"), usage.output_image_tokens),
        ("output_video", ("output_video_mtok",), usage.output_video_tokens),
    ]
    return [Item(cost_class, units, Decimal(amount), _MILLION) for cost_class, units, amount in rows if amount > 0]


def _cached(modality: str) -> tuple[str, ...]:
    """Units of cached non-text tokens; without a price of their own they cost as much as fresh tokens."""
    return f"cache_{modality}_read_mtok", "cache_read_mtok", f"input_{modality}_mtok", "input_mtok"


def _input(usage: Usage, *, text_first: bool) -> _Input:
    """Disjoint input tokens by modality, without those written to the cache."""
    if not (usage.input_image_tokens or usage.input_audio_tokens or usage.input_video_tokens):  # nearly all of them
        plain = max((usage.input_tokens or 0) - usage.cache_read_tokens - _writes(usage), 0)
        return _Input({**_NO_TOKENS, "text": plain}, {**_NO_TOKENS, "text": usage.cache_read_tokens})
    special = {"image": usage.input_image_tokens, "audio": usage.input_audio_tokens, "video": usage.input_video_tokens}
    fresh = {"text": max((usage.input_tokens or 0) - sum(special.values()), 0), **special}
    cached = {
        "text": min(usage.cache_read_text_tokens, usage.cache_read_tokens),
        "image": usage.cache_read_image_tokens,
        "audio": usage.cache_read_audio_tokens,
        "video": usage.cache_read_video_tokens,
    }
    for modality, amount in cached.items():
        fresh[modality] = max(fresh[modality] - amount, 0)
    order = _MODALITIES if text_first else _MODALITIES[::-1]
    _take(fresh, _writes(usage), order)
    taken = _take(fresh, usage.cache_read_tokens - sum(cached.values()), order)
    return _Input(fresh, {modality: cached[modality] + taken.get(modality, 0) for modality in _MODALITIES})


def _take(fresh: dict[str, int], amount: int, order: tuple[str, ...]) -> dict[str, int]:
    """Deduct tokens of unknown modality from `fresh`; returns how many of each modality were deducted."""
    taken: dict[str, int] = {}
    for modality in order:
        taken[modality] = min(fresh[modality], max(amount, 0))
        fresh[modality] -= taken[modality]
        amount -= taken[modality]
    return taken


def _other(usage: Usage) -> list[Item]:
    plain_pages = usage.pages - usage.annotated_pages
    rows = [
        ("audio", ("input_audio_hours", "audio_hours"), usage.audio_seconds or 0, _HOUR),
        ("pages", ("input_document_kpages",), plain_pages, _THOUSAND),
        ("pages", ("input_annotated_document_kpages",), usage.annotated_pages, _THOUSAND),
        ("characters", ("input_mchars",), usage.characters, _MILLION),
    ]
    for tool, calls in usage.tools.items():
        if tool not in _FREE_TOOLS:
            units = (f"{tool}_kcount", *((_TOOL_UNITS[tool],) if tool in _TOOL_UNITS else ()))
            rows.append((TOOLS, units, calls, _THOUSAND))
    return [Item(cost_class, units, Decimal(amount), per) for cost_class, units, amount, per in rows if amount > 0]
