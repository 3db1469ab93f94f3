"""Fills missing usage from the gateway's token estimate and marks it as estimated.

What the provider stated is kept: Anthropic's input and cache counts from `message_start`, and the counts of Gemini's
last chunk, which are a lower bound for the estimate. Reported usage is never changed.
"""

import msgspec

from shared.events import ResponseEvent
from shared.pricing import ESTIMATED
from shared.usage import Usage


def fill_in(usage: Usage, event: ResponseEvent) -> Usage:
    """Replace unknown token counts with the event's estimate.

    Returns `usage` unchanged when there is no estimate or a count would stay unknown. A stream that failed before its
    first token and before stating its input also stays unknown: the provider is unlikely to charge for it.
    """
    estimate = event.evidence.estimate
    if estimate is None or usage.source not in ("partial", "absent") or not 200 <= event.status < 300:
        return usage
    input_tokens = estimate.input if usage.input_tokens is None else usage.input_tokens
    if input_tokens is None or estimate.output is None:
        return usage
    if usage.error_type and not estimate.output and usage.input_tokens is None:
        return usage
    return msgspec.structs.replace(
        usage,
        source=ESTIMATED,
        input_tokens=input_tokens,
        output_tokens=max(estimate.output, usage.output_tokens or 0),
        estimated=("input", "output") if usage.input_tokens is None else ("output",),
        unread=(),  # the estimate replaces what could not be read
    )
