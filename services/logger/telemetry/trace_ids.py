"""Trace, span and parent ids of a request.

They are derived from its ID and the caller's trace context. The same request always gets the same ids, so a span that
is exported again replaces the first one.
"""

import hashlib
import uuid
from typing import NamedTuple

from services.logger.telemetry.stored_request import StoredRequest

_SPAN = (1 << 64) - 1
_SAMPLED = 1


class TraceIds(NamedTuple):
    """Ids as numbers. `parent`: the caller's span; 0 if it sent no traceparent."""

    trace: int
    span: int
    parent: int
    is_sampled: bool  # what the caller decided; True if it sent no traceparent

    def is_within(self, ratio: float) -> bool:
        """Whether sampling keeps this trace.

        The same on every logger and for every span of the trace.
        """
        # IDs of one moment differ only by a counter, so their hash serves as the random number, not their bits.
        digest = hashlib.sha256(self.trace.to_bytes(16, "big")).digest()
        return self.is_sampled and int.from_bytes(digest[:8], "big") < ratio * (1 << 64)


def derive(request: StoredRequest) -> TraceIds:
    """Derive the ids: without a traceparent, the request's ID is the trace id."""
    number = uuid.UUID(request.row.id).int
    if not request.traceparent:
        return TraceIds(number, number & _SPAN, 0, True)
    _, trace, parent, flags = request.traceparent.split("-")
    return TraceIds(int(trace, 16), number & _SPAN, int(parent, 16), bool(int(flags, 16) & _SAMPLED))
