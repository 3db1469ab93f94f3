"""Usage in, disjoint quantities out, each with the units that may price it: nothing is charged twice."""

from decimal import Decimal

import msgspec

from shared.usage import Usage

_MILLION, _THOUSAND, _HOUR = Decimal(10) ** 6, Decimal(10) ** 3, Decimal(3600)

# Billable tool → the library's unit for it. Others are priced by rows of the override table, unit "<tool>_kcount".
_TOOL_UNITS = {"web_search": "web_searches_kcount", "google_search": "web_searches_kcount"}
_TOOL_UNITS |= {"file_search": "storage_searches_kcount"}
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
    """So much of one thing, priced by the first of `units` that has a price, per `per`."""

    kind: str  # cost class
    units: tuple[str, ...]
    amount: Decimal
    per: Decimal


class _Input(msgspec.Struct, frozen=True):
    """Fresh and cached input tokens by kind: text, image, audio, video."""

    fresh: dict[str, int]
    cached: dict[str, int]


_KINDS = ("text", "image", "audio", "video")
_NOTHING = dict.fromkeys(_KINDS, 0)


def items(usage: Usage, *, text_first: bool = True) -> list[Item]:
    """What one model did, by what it costs. `usage.parts` are not looked at: see `shares`.

    Cached and written tokens of unknown kind are text as far as there is text, then the other kinds; with `text_first`
    False the other way round.
    """
    return [*_tokens(usage, text_first=text_first), *_other(usage)]


def contradicts(usage: Usage) -> bool:
    """Whether counts that are parts of another exceed it, so that no disjoint quantities exist."""
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
    """Whether it is open which kinds of input tokens were cached or written."""
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
    """The usage as parts that are each priced by their own model and size: those it names, and what they leave."""
    if not usage.parts:
        return [usage]
    inherited = {"service_tier": usage.service_tier, "geo": usage.geo, "speed": usage.speed}
    parts = [msgspec.structs.replace(part, model=part.model or usage.model, **inherited) for part in usage.parts]
    left = {name: max((getattr(usage, name) or 0) - _sum(parts, name), 0) for name in _COUNTS}
    return [msgspec.structs.replace(usage, parts=(), **left), *parts]


def _sum(parts: list[Usage], name: str) -> int:
    return sum(getattr(part, name) or 0 for part in parts)


def _tokens(usage: Usage, *, text_first: bool) -> list[Item]:
    found = _input(usage, text_first=text_first)
    fresh, cached = found.fresh, found.cached
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
    return [Item(kind, units, Decimal(amount), _MILLION) for kind, units, amount in rows if amount > 0]


def _cached(kind: str) -> tuple[str, ...]:
    """Units of cached tokens that are no text; without a price for cached ones they cost as much as fresh ones."""
    return f"cache_{kind}_read_mtok", "cache_read_mtok", f"input_{kind}_mtok", "input_mtok"


def _input(usage: Usage, *, text_first: bool) -> _Input:
    """Disjoint input tokens by kind, without those written to the cache."""
    if not (usage.input_image_tokens or usage.input_audio_tokens or usage.input_video_tokens):  # nearly all of them
        plain = max((usage.input_tokens or 0) - usage.cache_read_tokens - _writes(usage), 0)
        return _Input({**_NOTHING, "text": plain}, {**_NOTHING, "text": usage.cache_read_tokens})
    special = {"image": usage.input_image_tokens, "audio": usage.input_audio_tokens, "video": usage.input_video_tokens}
    fresh = {"text": max((usage.input_tokens or 0) - sum(special.values()), 0), **special}
    cached = {
        "text": min(usage.cache_read_text_tokens, usage.cache_read_tokens),
        "image": usage.cache_read_image_tokens,
        "audio": usage.cache_read_audio_tokens,
        "video": usage.cache_read_video_tokens,
    }
    for kind, amount in cached.items():
        fresh[kind] = max(fresh[kind] - amount, 0)
    order = _KINDS if text_first else _KINDS[::-1]
    _take(fresh, _writes(usage), order)
    taken = _take(fresh, usage.cache_read_tokens - sum(cached.values()), order)
    return _Input(fresh, {kind: cached[kind] + taken.get(kind, 0) for kind in _KINDS})


def _take(fresh: dict[str, int], amount: int, order: tuple[str, ...]) -> dict[str, int]:
    """Take tokens of unknown kind from where there are some; how many of each kind were taken."""
    taken: dict[str, int] = {}
    for kind in order:
        taken[kind] = min(fresh[kind], max(amount, 0))
        fresh[kind] -= taken[kind]
        amount -= taken[kind]
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
    return [Item(kind, units, Decimal(amount), per) for kind, units, amount, per in rows if amount > 0]
