"""Reads the usage of a response from its evidence: one module per dialect.

No dialect ever raises because of what a provider wrote.
"""

import re

import msgspec

from services.logger.usage import (
    anthropic,
    batch,
    gemini,
    gemini_live,
    openai_chat,
    openai_other,
    openai_realtime,
    openai_responses,
)
from services.logger.usage.payload import PARTIAL, REPORTED, Payload, failure, unreadable
from shared import events, free_endpoints
from shared.events import ResponseEvent
from shared.pricing import ANSWER_FAILED
from shared.usage import Usage

PARTIAL_CONTENT = 206
# Endpoints whose cost depends on their usage alone, not on tools or a service tier.
_IN_USAGE = re.compile(r"/embeddings$|/images/|/audio/|:(?:embedContent|batchEmbedContents)$")

_DIALECTS = {
    events.ANTHROPIC: anthropic.read_usage,
    events.OPENAI_CHAT: openai_chat.read_usage,
    events.OPENAI_RESPONSES: openai_responses.read_usage,
    events.OPENAI_OTHER: openai_other.read_usage,
    events.OPENAI_REALTIME: openai_realtime.read_usage,
    events.GEMINI: gemini.read_usage,
    events.GEMINI_LIVE: gemini_live.read_usage,
}


def read(event: ResponseEvent) -> Usage:
    """Read what the response consumed.

    `source` is absent when the response states no usage, partial when it broke off.
    """
    payload = Payload.of(event)
    if event.status >= 400 or event.status == 0:
        return Usage(model=payload.model)
    dialect = _DIALECTS[event.envelope.dialect]
    usage = batch.read_usage(payload, dialect) if batch.is_output(payload) else dialect(payload)
    error_type, error_message = failure(payload)
    if error_type or error_message:
        usage = msgspec.structs.replace(usage, error_type=error_type, error_message=error_message)
    broke_off = not payload.whole and event.response_bytes > 0
    if usage.source == "absent" and (broke_off or (payload.begun and (error_type or error_message))):
        usage = msgspec.structs.replace(usage, source=PARTIAL)
    return _of_this_call_only(_with_unread(usage, payload, status=event.status), payload)


def _with_unread(usage: Usage, payload: Payload, *, status: int) -> Usage:
    """The usage with `unread` naming what could not be read, so no cost is computed from the rest."""
    unread: list[str] = []
    if usage.batch and status == PARTIAL_CONTENT:
        usage = msgspec.structs.replace(usage, source=PARTIAL)
        unread.append("range")
    if reason := _gap_reason(payload):
        unread.append(reason)
    stated = msgspec.json.decode(usage.raw) if usage.raw else {}
    if unreadable(stated) or openai_chat.is_charge_unread(stated, payload):
        unread.append("counts")
    elif usage.source == PARTIAL and payload.whole and not unread:
        unread.append(ANSWER_FAILED if usage.error_type else "counts")
    return msgspec.structs.replace(usage, unread=tuple(unread)) if unread else usage


def _gap_reason(payload: Payload) -> str:
    """Why evidence relevant to the cost is missing; "" if none is."""
    evidence = payload.evidence
    harmless = {events.GAP_NAMES}
    if _IN_USAGE.search(payload.endpoint):
        harmless.add(events.GAP_TOOLS)
    missing = evidence.gaps or events.GAPS_ALL[1:]
    return (evidence.reason or "truncated") if evidence.truncated and not harmless.issuperset(missing) else ""


def _of_this_call_only(usage: Usage, payload: Payload) -> Usage:
    """Empty usage for a lookup, whose tokens another call counted; kept if only lookups ever report them."""
    background = payload.background
    if not free_endpoints.is_lookup(payload.endpoint) or usage.batch or (background and usage.source == REPORTED):
        return msgspec.structs.replace(usage, background=True) if background else usage
    return Usage(model=usage.model, error_type=usage.error_type, error_message=usage.error_message)
