"""Evidence in, canonical usage out: one module a dialect, none of them ever raises for what a provider wrote."""

import msgspec

from services.logger.usage import anthropic, gemini, openai_chat, openai_other, openai_responses
from services.logger.usage.answer import PARTIAL, Answer, failure
from shared import contract
from shared.contract import ResponseEvent
from shared.usage import Usage

_DIALECTS = {
    contract.ANTHROPIC: anthropic.usage,
    contract.OPENAI_CHAT: openai_chat.usage,
    contract.OPENAI_RESPONSES: openai_responses.usage,
    contract.OPENAI_OTHER: openai_other.usage,
    contract.GEMINI: gemini.usage,
}


def read(event: ResponseEvent) -> Usage:
    """What the answer consumed. `source` is absent when it does not say, partial when it broke off."""
    answer = Answer.of(event)
    if event.status >= 400 or event.status == 0:
        return Usage(model=answer.model)
    found = _DIALECTS[event.envelope.dialect](answer)
    kind, message = failure(answer.objects)
    if kind or message:
        found = msgspec.structs.replace(found, error_type=kind, error_message=message)
    if found.source == "absent" and answer.begun and (kind or message):
        found = msgspec.structs.replace(found, source=PARTIAL)
    return found
