"""Anthropic's `iterations` in, parts of the usage out: each sampling is priced by its own model and its own size."""

from collections.abc import Callable
from typing import Any

import msgspec

from services.logger.usage.payload import Object, known
from shared.usage import Usage

_IN_THE_SUMS = ("message", "fallback_message")
_APART = ("compaction", "advisor_message")  # what the sums at the top leave out
_COUNTS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens")


def divide(usage: Usage, found: object, *, of: Callable[[Object], dict[str, Any]]) -> Usage:
    """The usage with all that its iterations add, and as parts what they divide it into. `of`: an entry's counts."""
    entries = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    if not entries or usage.output_tokens is None:
        return usage
    if any(one.get("type") not in (*_IN_THE_SUMS, *_APART) or _lacks_counts(one) for one in entries):
        usage = msgspec.structs.replace(usage, inexact=(*usage.inexact, "iterations"))
    inner = [_part(one, of) for one in entries if one.get("type") in _IN_THE_SUMS]
    apart = [_part(one, of) for one in entries if one.get("type") in _APART]
    if any(_sum(inner, name) != (getattr(usage, name) or 0) for name in _COUNTS):
        # Shares that do not add up to the sums, perhaps only for want of the writes' lifetimes: the sums are priced as
        # one, unless another model has a share in them, which bears no price that we could tell apart.
        others = sum(part.model not in ("", usage.model) for part in inner)
        usage = msgspec.structs.replace(usage, tools=usage.tools | ({"other_model": others} if others else {}))
        inner = []
    elif not apart and len(inner) == 1 and inner[0].model in ("", usage.model):
        return usage
    totals = {name: (getattr(usage, name) or 0) + _sum(apart, name) for name in _COUNTS}
    return msgspec.structs.replace(usage, parts=(*inner, *apart), **totals)


def _lacks_counts(one: Object) -> bool:
    return any(known(one.get(name)) is None for name in ("input_tokens", "output_tokens"))


def _part(one: Object, of: Callable[[Object], dict[str, Any]]) -> Usage:
    model = one.get("model")
    output = known(one.get("output_tokens"))
    return Usage(model=model if isinstance(model, str) else "", source="reported", output_tokens=output, **of(one))


def _sum(parts: list[Usage], name: str) -> int:
    return sum(getattr(part, name) or 0 for part in parts)
