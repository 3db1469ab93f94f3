"""A finished batch's output: its usage, which the gateway added up by model, as one usage."""

from collections.abc import Callable
from typing import Any

import msgspec

from services.logger.usage.payload import PARTIAL, REPORTED, Object, Payload, count, inside, raw
from shared import events
from shared.usage import Usage

_OUTPUT = "batch.output"  # what the gateway calls such a pick
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


def is_output(answer: Payload) -> bool:
    """Whether the evidence is a batch's, a line a request."""
    return any(one.get("object") == _OUTPUT for one in answer.objects)


def usage(answer: Payload, dialect: Callable[[Payload], Usage]) -> Usage:
    """All models' counts together; with several models each one's share is a part."""
    parts = [_part(one, answer, dialect) for one in answer.objects if one.get("object") == _OUTPUT]
    whole = answer.whole and (not answer.evidence.truncated or answer.evidence.gaps == (events.GAP_NAMES,))
    source = REPORTED if whole and all(part.source == REPORTED for part in parts) else PARTIAL
    if len(parts) == 1:
        return msgspec.structs.replace(parts[0], source=source, batch=True)
    sums: dict[str, Any] = {name: sum(getattr(part, name) or 0 for part in parts) for name in _COUNTS}
    return Usage(
        source=source,
        parts=tuple(msgspec.structs.replace(part, raw="") for part in parts),
        inexact=tuple(dict.fromkeys(name for part in parts for name in part.inexact)),
        geo=parts[0].geo if parts else "",
        batch=True,
        raw=raw({part.model: msgspec.Raw(part.raw) for part in parts if part.raw}),
        **sums,
    )


def _part(one: Object, answer: Payload, dialect: Callable[[Payload], Usage]) -> Usage:
    """What one model did, read as one answer of it."""
    calls = inside(one, "tool_calls")
    evidence = msgspec.structs.replace(answer.evidence, tools={name: count(made) for name, made in calls.items()})
    return dialect(msgspec.structs.replace(answer, objects=[one], evidence=evidence, model=str(one.get("model") or "")))
