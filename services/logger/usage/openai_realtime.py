"""Usage in OpenAI's Realtime API: of a `response.done`, or of a transcription."""

from services.logger.usage import openai_responses
from services.logger.usage.payload import REPORTED, Payload, inside, last_counting, number, raw
from shared.usage import Usage

_DURATION = "duration"


def read_usage(payload: Payload) -> Usage:
    """Read the usage of a response, or of a transcription: tokens or seconds."""
    stated = (inside(event, "usage") or inside(inside(event, "response"), "usage") for event in payload.objects)
    usage_object = last_counting(event for event in stated if event)
    if not usage_object:
        return Usage(model=payload.model)
    if usage_object.get("type") == _DURATION:
        seconds = number(usage_object.get("seconds"))
        return Usage(model=payload.model, source=REPORTED, audio_seconds=seconds, raw=raw(usage_object))
    return openai_responses.from_usage_object(usage_object, payload)
