"""Splits Anthropic's usage by `iterations`, each priced by its own model and size."""

from collections.abc import Callable
from typing import Any

import msgspec

from services.logger.usage.payload import Object, known
from shared.usage import Usage

_IN_TOTALS = ("message", "fallback_message")
_NOT_IN_TOTALS = ("compaction", "advisor_message")  # not included in the top-level counts
_COUNTS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens")


def divide(usage: Usage, iterations: object, *, counts: Callable[[Object], dict[str, Any]]) -> Usage:
    """Add what the iterations count on top, and split the usage into parts.

    `counts` reads the input counts of an entry.
    """
    entries = [entry for entry in iterations if isinstance(entry, dict)] if isinstance(iterations, list) else []
    if not entries or usage.output_tokens is None:
        return usage
    if any(entry.get("type") not in (*_IN_TOTALS, *_NOT_IN_TOTALS) or _lacks_counts(entry) for entry in entries):
        usage = msgspec.structs.replace(usage, inexact=(*usage.inexact, "iterations"))
    inner = [_part(entry, counts) for entry in entries if entry.get("type") in _IN_TOTALS]
    apart = [_part(entry, counts) for entry in entries if entry.get("type") in _NOT_IN_TOTALS]
    if any(_sum(inner, name) != (getattr(usage, name) or 0) for name in _COUNTS):
        # The iterations do not add up to the totals, perhaps only because cache lifetimes are missing. The totals are
        # then priced as a whole; a share of another model makes the cost unknown.
        others = sum(part.model not in ("", usage.model) for part in inner)
        usage = msgspec.structs.replace(usage, tools=usage.tools | ({"other_model": others} if others else {}))
        inner = []
    elif not apart and len(inner) == 1 and inner[0].model in ("", usage.model):
        return usage
    totals = {name: (getattr(usage, name) or 0) + _sum(apart, name) for name in _COUNTS}
    return msgspec.structs.replace(usage, parts=(*inner, *apart), **totals)


def _lacks_counts(entry: Object) -> bool:
    return any(known(entry.get(name)) is None for name in ("input_tokens", "output_tokens"))


def _part(entry: Object, counts: Callable[[Object], dict[str, Any]]) -> Usage:
    model = entry.get("model")
    output = known(entry.get("output_tokens"))
    return Usage(
        model=model if isinstance(model, str) else "", source="reported", output_tokens=output, **counts(entry)
    )


def _sum(parts: list[Usage], name: str) -> int:
    return sum(getattr(part, name) or 0 for part in parts)
