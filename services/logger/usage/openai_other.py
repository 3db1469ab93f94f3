"""OpenAI-style endpoints beside chat and Responses: embeddings, images, audio, OCR, batches, conversations."""

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


def usage(answer: Payload) -> Usage:
    """Told by the usage object's keys: each endpoint here follows one of the two large APIs, or counts otherwise."""
    if pages := answer.last("usage_info"):
        return _pages(pages, answer)
    found = _usage(answer)
    if not found:
        return _speech(answer)
    if found.get("type") == "duration":
        seconds = number(found.get("seconds"))
        return Usage(model=answer.model, source=REPORTED, audio_seconds=seconds, raw=raw(found))
    if "prompt_tokens" in found:
        one = openai_chat.of(found, answer)
    else:
        one = _with_image(hosted_tools.add(openai_responses.of(found, answer), answer), found, answer)
    if one.provider_cost_usd is not None and one.input_tokens is None:
        one = msgspec.structs.replace(one, source=REPORTED)  # xAI's images: a charge and no tokens
    described = next((item for item in answer.objects if item.get("object") == "batch"), None)
    if described is None:
        return one
    # The usage of a batch of responses counts no searches nor other hosted tools, which cost something too.
    unsaid = ("tools",) if str(described.get("endpoint")).endswith("/responses") else ()
    return msgspec.structs.replace(one, batch=True, inexact=(*one.inexact, *unsaid))


def _usage(answer: Payload) -> Object:
    """The last usage object, at the top or in the `response` of a conversation's event."""
    stated = (inside(one, "usage") or inside(inside(one, "response"), "usage") for one in answer.objects)
    return last_counting(one for one in stated if one)


def _pages(found: Object, answer: Payload) -> Usage:
    """OCR: annotating makes every page dearer, and only the request says that it was asked for."""
    pages = count(found.get("pages_processed"))
    annotated = pages if answer.evidence.request.get("annotated") else 0
    return Usage(model=answer.model, source=REPORTED, pages=pages, annotated_pages=annotated, raw=raw(found))


def _speech(answer: Payload) -> Usage:
    """An answer that is only sound says nothing; the gateway has measured the text that was to be read out."""
    characters = answer.evidence.request.get("characters", "")
    if not answer.endpoint.endswith(_SPEECH) or not characters.isdecimal():
        return Usage(model=answer.model)
    return Usage(model=answer.model, source=REPORTED if answer.whole else PARTIAL, characters=int(characters))


def _with_image(one: Usage, found: Object, answer: Payload) -> Usage:
    """What an image endpoint made is image, unless it says otherwise; drawing an SVG is another model's work."""
    if _IMAGES not in answer.endpoint:
        return one
    if not (inside(found, "output_tokens_details") or inside(found, "output_token_details")):
        one = msgspec.structs.replace(one, output_image_tokens=one.output_tokens or 0)
    drawing = answer.last("svg_usage")
    made, written = known(drawing.get("input_tokens")), known(drawing.get("output_tokens"))
    if made is None or written is None:
        return one
    part = Usage(model=text(drawing.get("model")), source=REPORTED, input_tokens=made, output_tokens=written)
    return msgspec.structs.replace(
        one,
        input_tokens=(one.input_tokens or 0) + made,
        output_tokens=(one.output_tokens or 0) + written,
        parts=(part,),
        raw=_both(found, drawing),
    )


def _both(found: Object, drawing: Object) -> str:
    return raw({"usage": found, "svg_usage": drawing})
