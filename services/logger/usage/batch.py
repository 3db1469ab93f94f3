"""Usage of a finished batch, from the sums by model that the gateway computed."""

from collections.abc import Callable
from typing import Any

import msgspec

from services.logger.usage.payload import PARTIAL, REPORTED, Object, Payload, count, inside, raw
from shared import events
from shared.usage import Usage

_OUTPUT = "batch.output"  # marks the gateway's sums by model
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


def is_output(payload: Payload) -> bool:
    """Whether the evidence is the output of a batch, one line per request."""
    return any(pick.get("object") == _OUTPUT for pick in payload.objects)


def read_usage(payload: Payload, dialect: Callable[[Payload], Usage]) -> Usage:
    """Sum the counts of all models; with several models, each is a part."""
    parts = [_part(pick, payload, dialect) for pick in payload.objects if pick.get("object") == _OUTPUT]
    whole = payload.whole and (not payload.evidence.truncated or payload.evidence.gaps == (events.GAP_NAMES,))
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


def _part(pick: Object, payload: Payload, dialect: Callable[[Payload], Usage]) -> Usage:
    """The usage of one model, read like a single response."""
    calls = inside(pick, "tool_calls")
    evidence = msgspec.structs.replace(payload.evidence, tools={name: count(made) for name, made in calls.items()})
    return dialect(
        msgspec.structs.replace(payload, objects=[pick], evidence=evidence, model=str(pick.get("model") or ""))
    )
