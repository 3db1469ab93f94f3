"""Gemini's native API: usageMetadata on every chunk, cumulative; thoughts stand beside the candidates, not in them."""

from services.logger.usage.answer import PARTIAL, REPORTED, Answer, Object, count, known, raw, text
from shared.usage import Usage

_TIER_HEADER = "x-gemini-service-tier"


def usage(answer: Answer) -> Usage:
    """The last usageMetadata."""
    found = answer.last("usageMetadata")
    if not found:
        return Usage(model=answer.model)
    prompt = known(found.get("promptTokenCount"))
    thoughts = count(found.get("thoughtsTokenCount"))
    searches = count(answer.evidence.tools.get("google_search"))
    return Usage(
        model=answer.model,
        source=REPORTED if answer.whole and prompt is not None else PARTIAL,
        input=None if prompt is None else prompt + count(found.get("toolUsePromptTokenCount")),
        output=count(found.get("candidatesTokenCount")) + thoughts,
        cache_read=count(found.get("cachedContentTokenCount")),
        reasoning=thoughts,
        input_audio=_modality(found, "promptTokensDetails", "AUDIO"),
        output_audio=_modality(found, "candidatesTokensDetails", "AUDIO"),
        input_image=_modality(found, "promptTokensDetails", "IMAGE"),
        output_image=_modality(found, "candidatesTokensDetails", "IMAGE"),
        tools={"google_search": searches} if searches else {},
        service_tier=text(answer.evidence.headers.get(_TIER_HEADER)),
        raw=raw(found),
    )


def _modality(found: Object, details: str, modality: str) -> int:
    parts = found.get(details)
    if not isinstance(parts, list):
        return 0
    return sum(
        count(part.get("tokenCount")) for part in parts if isinstance(part, dict) and part.get("modality") == modality
    )
