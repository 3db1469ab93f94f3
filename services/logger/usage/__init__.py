"""Evidence in, canonical usage out: one module a dialect, none of them ever raises for what a provider wrote."""

import re

import msgspec

from services.logger.usage import anthropic, batch, gemini, openai_chat, openai_other, openai_responses
from services.logger.usage.payload import PARTIAL, REPORTED, Payload, failure, unreadable
from shared import events
from shared.events import ResponseEvent
from shared.pricing import ANSWER_FAILED, free_endpoints
from shared.usage import Usage

PARTIAL_CONTENT = 206
# Calls whose cost hangs on nothing beside their usage: no tools, no tier. Others may have more than could be read.
_IN_USAGE = re.compile(r"/embeddings$|/images/|/audio/|:(?:embedContent|batchEmbedContents)$")

_DIALECTS = {
    events.ANTHROPIC: anthropic.usage,
    events.OPENAI_CHAT: openai_chat.usage,
    events.OPENAI_RESPONSES: openai_responses.usage,
    events.OPENAI_OTHER: openai_other.usage,
    events.GEMINI: gemini.usage,
}


def read(event: ResponseEvent) -> Usage:
    """What the answer consumed. `source` is absent when it does not say, partial when it broke off."""
    answer = Payload.of(event)
    if event.status >= 400 or event.status == 0:
        return Usage(model=answer.model)
    dialect = _DIALECTS[event.envelope.dialect]
    found = batch.usage(answer, dialect) if batch.is_output(answer) else dialect(answer)
    kind, message = failure(answer)
    if kind or message:
        found = msgspec.structs.replace(found, error_type=kind, error_message=message)
    if found.source == "absent" and answer.begun and (kind or message):
        found = msgspec.structs.replace(found, source=PARTIAL)
    return _of_this_call(_doubted(found, answer, status=event.status), answer)


def _doubted(found: Usage, answer: Payload, *, status: int) -> Usage:
    """The usage with what could not be read named, so that no cost is made of the rest."""
    unread: list[str] = []
    if found.batch and status == PARTIAL_CONTENT:
        found = msgspec.structs.replace(found, source=PARTIAL)
        unread.append("range")
    if reason := _gap(answer):
        unread.append(reason)
    stated = msgspec.json.decode(found.raw) if found.raw else {}
    if unreadable(stated) or openai_chat.is_charge_unread(stated, answer):
        unread.append("counts")
    elif found.source == PARTIAL and answer.whole and not unread:
        unread.append(ANSWER_FAILED if found.error_type else "counts")
    return msgspec.structs.replace(found, unread=tuple(unread)) if unread else found


def _gap(answer: Payload) -> str:
    """Why evidence is missing that bears on the cost; "" when none is."""
    evidence = answer.evidence
    harmless = {events.GAP_NAMES}
    if _IN_USAGE.search(answer.endpoint):
        harmless.add(events.GAP_TOOLS)
    missing = evidence.gaps or events.GAPS_ALL[1:]
    return (evidence.reason or "truncated") if evidence.truncated and not harmless.issuperset(missing) else ""


def _of_this_call(found: Usage, answer: Payload) -> Usage:
    """Tokens count once: what is only looked up was another call's, unless no call but a look ever tells it."""
    background = answer.background
    if not free_endpoints.is_lookup(answer.endpoint) or found.batch or (background and found.source == REPORTED):
        return msgspec.structs.replace(found, background=True) if background else found
    return Usage(model=found.model, error_type=found.error_type, error_message=found.error_message)
