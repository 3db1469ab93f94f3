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
    "input",
    "output",
    "cache_read",
    "cache_write_5m",
    "cache_write_1h",
    "cache_write_30m",
    "cache_write_12h",
    "reasoning",
)


class Item(msgspec.Struct, frozen=True):
    """So much of one thing, priced by the first of `units` that has a price, per `per`."""

    kind: str  # cost class
    units: tuple[str, ...]
    amount: Decimal
    per: Decimal


def items(usage: Usage) -> list[Item]:
    """What one model did, by what it costs. `usage.parts` are not looked at: see `shares`."""
    return [*_tokens(usage), *_other(usage)]


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


def _tokens(usage: Usage) -> list[Item]:
    writes = usage.cache_write_5m + usage.cache_write_30m
    audio, image = usage.input_audio - usage.cache_read_audio, usage.input_image - usage.cache_read_image
    cached = usage.cache_read - usage.cache_read_audio - usage.cache_read_image
    special_in = usage.cache_read + writes + usage.cache_write_1h + usage.cache_write_12h + audio + image
    # Who says that audio was cached but not how much of it counts it twice: then the parts exceed the whole.
    plain_in = (usage.input or 0) - special_in - usage.input_video
    plain_out = (usage.output or 0) - usage.output_audio - usage.output_image - usage.output_video
    rows = [
        ("input", ("input_mtok",), plain_in),
        ("input_audio", ("input_audio_mtok", "input_mtok"), audio),
        ("input_image", ("input_image_mtok", "input_mtok"), image),
        ("input_video", ("input_video_mtok", "input_mtok"), usage.input_video),
        ("cache_read", ("cache_read_mtok", "input_mtok"), cached),
        ("cache_read", ("cache_audio_read_mtok", "cache_read_mtok", "input_mtok"), usage.cache_read_audio),
        ("cache_read", ("cache_image_read_mtok", "cache_read_mtok", "input_mtok"), usage.cache_read_image),
        ("cache_write", ("cache_write_mtok",), writes),
        ("cache_write", ("cache_write_1h_mtok",), usage.cache_write_1h),
        ("cache_write", ("cache_write_12h_mtok",), usage.cache_write_12h),
        ("output", ("output_mtok",), plain_out),
        ("output_audio", ("output_audio_mtok", "output_mtok"), usage.output_audio),
        ("output_image", ("output_image_mtok", "output_mtok"), usage.output_image),
        ("output_video", ("output_video_mtok",), usage.output_video),
    ]
    return [Item(kind, units, Decimal(amount), _MILLION) for kind, units, amount in rows if amount > 0]


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
