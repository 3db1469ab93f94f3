"""Usage in OpenAI-style endpoints other than chat and Responses.

Embeddings, images, audio, OCR, batches, conversations.
"""

import msgspec

from services.logger.usage import hosted_tools, openai_chat, openai_responses
from services.logger.usage.payload import (
    PARTIAL,
    REPORTED,
    Object,
    Payload,
    count,
    inside,
    known,
    last_counting,
    number,
    raw,
    text,
)
from shared.usage import Usage

_SPEECH = "/audio/speech"
_IMAGES = "/images/"


def read_usage(payload: Payload) -> Usage:
    """Read usage in whichever format its keys indicate: chat, Responses, or other."""
    pages = payload.last("usage_info")
    if pages:
        return _pages(pages, payload)
    usage_object = _usage(payload)
    if not usage_object:
        return _speech(payload)
    if usage_object.get("type") == "duration":
        seconds = number(usage_object.get("seconds"))
        return Usage(model=payload.model, source=REPORTED, audio_seconds=seconds, raw=raw(usage_object))
    if "prompt_tokens" in usage_object:
        result = openai_chat.from_usage_object(usage_object, payload)
    else:
        result = openai_responses.from_usage_object(usage_object, payload)
        result = hosted_tools.add(result, payload)
        result = _with_image(result, usage_object, payload)
    if result.provider_cost_usd is not None and result.input_tokens is None:
        result = msgspec.structs.replace(result, source=REPORTED)  # xAI's images have a charge but no tokens
    described = next((item for item in payload.objects if item.get("object") == "batch"), None)
    if described is None:
        return result
    # The usage of a batch of responses omits searches and other hosted tools, which are billed too.
    omitted = ("tools",) if str(described.get("endpoint")).endswith("/responses") else ()
    return msgspec.structs.replace(result, batch=True, inexact=(*result.inexact, *omitted))


def _usage(payload: Payload) -> Object:
    """The last usage object, top-level or in the `response` of a conversation event."""
    stated = (inside(event, "usage") or inside(inside(event, "response"), "usage") for event in payload.objects)
    return last_counting(event for event in stated if event)


def _pages(usage_object: Object, payload: Payload) -> Usage:
    """OCR usage. Annotated pages cost more, and only the request tells whether annotation was on."""
    pages = count(usage_object.get("pages_processed"))
    annotated = pages if payload.evidence.request.get("annotated") else 0
    return Usage(model=payload.model, source=REPORTED, pages=pages, annotated_pages=annotated, raw=raw(usage_object))


def _speech(payload: Payload) -> Usage:
    """Text-to-speech usage: the response is audio only, so the gateway counted the characters of the request."""
    characters = payload.evidence.request.get("characters", "")
    if not payload.endpoint.endswith(_SPEECH) or not characters.isdecimal():
        return Usage(model=payload.model)
    return Usage(model=payload.model, source=REPORTED if payload.whole else PARTIAL, characters=int(characters))


def _with_image(usage: Usage, usage_object: Object, payload: Payload) -> Usage:
    """Count an image endpoint's output as images unless itemized; an SVG is a part, drawn by another model."""
    if _IMAGES not in payload.endpoint:
        return usage
    if not (inside(usage_object, "output_tokens_details") or inside(usage_object, "output_token_details")):
        usage = msgspec.structs.replace(usage, output_image_tokens=usage.output_tokens or 0)
    drawing = payload.last("svg_usage")
    made = known(drawing.get("input_tokens"))
    written = known(drawing.get("output_tokens"))
    if made is None or written is None:
        return usage
    part = Usage(model=text(drawing.get("model")), source=REPORTED, input_tokens=made, output_tokens=written)
    return msgspec.structs.replace(
        usage,
        input_tokens=(usage.input_tokens or 0) + made,
        output_tokens=(usage.output_tokens or 0) + written,
        parts=(part,),
        raw=_both(usage_object, drawing),
    )


def _both(usage_object: Object, drawing: Object) -> str:
    return raw({"usage": usage_object, "svg_usage": drawing})
