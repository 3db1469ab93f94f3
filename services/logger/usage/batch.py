"""A finished batch's output: its usage, which the gateway added up by model, as one usage."""

from collections.abc import Callable
from typing import Any

import msgspec

from services.logger.usage.answer import PARTIAL, REPORTED, Answer, raw
from shared import contract
from shared.usage import Usage

_OUTPUT = "batch.output"  # what the gateway calls such a pick
_SUMS = ("input", "output")
_COUNTS = ("cache_read", "cache_write_5m", "cache_write_1h", "cache_write_30m", "cache_write_12h", "reasoning")


def is_output(answer: Answer) -> bool:
    """Whether the evidence is a batch's, a line a request."""
    return any(one.get("object") == _OUTPUT for one in answer.objects)


def usage(answer: Answer, dialect: Callable[[Answer], Usage]) -> Usage:
    """All models' counts together; with several models each one's share is a part."""
    parts = [
        dialect(msgspec.structs.replace(answer, objects=[one], model=str(one.get("model") or "")))
        for one in answer.objects
        if one.get("object") == _OUTPUT
    ]
    single = parts[0].model if len(parts) == 1 else ""
    sums: dict[str, Any] = {name: sum(getattr(part, name) or 0 for part in parts) for name in (*_SUMS, *_COUNTS)}
    whole = answer.whole and (not answer.evidence.truncated or answer.evidence.gaps == (contract.GAP_NAMES,))
    return Usage(
        model=single,
        source=REPORTED if whole and all(part.source == REPORTED for part in parts) else PARTIAL,
        parts=() if single else tuple(msgspec.structs.replace(part, raw="") for part in parts),
        batch=True,
        raw=parts[0].raw if len(parts) == 1 else raw({part.model: msgspec.Raw(part.raw) for part in parts if part.raw}),
        **sums,
    )
