"""Usage that a stream left out or left half comes in; filled in by what the gateway counted, and labelled, it goes out.

What the provider did say stays as it is: Anthropic's input and cache from `message_start`, Gemini's numbers of the last
chunk that came, below which no estimate goes. Reported usage is never touched.
"""

import msgspec

from shared.events import ResponseEvent
from shared.pricing import ESTIMATED
from shared.usage import Usage


def fill_in(used: Usage, event: ResponseEvent) -> Usage:
    """`used` with its unknown sides from the event's estimate; as it is when there is none or one side stays unknown.

    A stream that ended in an error before its first word, without a word about its input, stays unknown too: it hardly
    was charged for.
    """
    found = event.evidence.estimate
    if found is None or used.source not in ("partial", "absent") or not 200 <= event.status < 300:
        return used
    input_tokens = found.input if used.input is None else used.input
    if input_tokens is None or found.output is None:
        return used
    if used.error_type and not found.output and used.input is None:
        return used
    return msgspec.structs.replace(
        used,
        source=ESTIMATED,
        input=input_tokens,
        output=max(found.output, used.output or 0),
        estimated=("input", "output") if used.input is None else ("output",),
        unread=(),  # the estimate stands for what could not be read
    )
