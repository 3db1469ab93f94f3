"""OpenAI-style endpoints beside chat and Responses: embeddings, images, audio, OCR, batches."""

import msgspec

from services.logger.usage import openai_chat, openai_responses
from services.logger.usage.answer import REPORTED, Answer, count, number, raw
from shared.usage import Usage


def usage(answer: Answer) -> Usage:
    """Told by the usage object's keys: each endpoint here follows one of the two large APIs, or counts otherwise."""
    found, pages = answer.last("usage"), answer.last("usage_info")
    if pages:
        return Usage(model=answer.model, source=REPORTED, pages=count(pages.get("pages_processed")), raw=raw(pages))
    if not found:
        return Usage(model=answer.model)
    if found.get("type") == "duration":
        seconds = number(found.get("seconds"))
        return Usage(model=answer.model, source=REPORTED, audio_seconds=seconds, raw=raw(found))
    one = openai_chat.of(found, answer) if "prompt_tokens" in found else openai_responses.of(found, answer)
    batch = any(one.get("object") == "batch" for one in answer.objects)
    return msgspec.structs.replace(one, batch=True) if batch else one
