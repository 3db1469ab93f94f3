"""Request parameters that the gateway reads, in particular those of the price."""

import re
from functools import lru_cache
from typing import Any

import msgspec

from services.gateway.parsing import json_skeleton, lenient_json
from services.gateway.usage.tool_calls import offered_tools

_MAX_TEXT = 1024  # clipped to the column's size after redaction
_SPEECH = "/audio/speech"
_OCR = "/ocr"
_RESPONSES = "/responses"  # other endpoints have no hosted tools
_PRICED_TOOLS = (b'"web_search_preview', b'"image_generation"')  # the price depends on which of them it is


class Ask(msgspec.Struct):
    """The parameters, of any type: rejecting a bad one is up to the provider."""

    model: Any = None
    stream: Any = None
    stream_options: msgspec.Raw = msgspec.Raw()
    service_tier: Any = None
    speed: Any = None
    inference_geo: Any = None
    quality: Any = None
    size: Any = None
    tools: msgspec.Raw = msgspec.Raw()  # only type and model of hosted tools with a price of their own
    input: msgspec.Raw = msgspec.Raw()  # only its length, for speech; and who spoke last, as in the next two
    messages: msgspec.Raw = msgspec.Raw()
    contents: msgspec.Raw = msgspec.Raw()
    bbox_annotation_format: msgspec.Raw = msgspec.Raw()
    document_annotation_format: msgspec.Raw = msgspec.Raw()
    # Spellings that servers written in Go accept, too.
    model_title: Any = msgspec.field(default=None, name="Model")
    model_upper: Any = msgspec.field(default=None, name="MODEL")
    stream_title: Any = msgspec.field(default=None, name="Stream")
    stream_upper: Any = msgspec.field(default=None, name="STREAM")


_decoder = msgspec.json.Decoder(Ask)
_text = msgspec.json.Decoder(str)
_TRUE = frozenset({"true", "1"})
_NOTES = ("service_tier", "speed", "inference_geo", "quality", "size")
# Hosts that process in one region, at a different price.
_REGION = re.compile(r"https://(?:([a-z]{2})\.api\.openai\.com|api\.([a-z]{2})\.mistral\.ai)(?:[:/]|$)")
NOTHING = Ask()


def read(body: bytes) -> Ask:
    """Parse a body; NOTHING if even a lenient parser finds no JSON object.

    Of a large body its skeleton is parsed; NOTHING if that is large, too.
    """
    text = json_skeleton.of_request(body)
    if text is None:
        return NOTHING
    try:
        asked = _decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        asked = lenient_json.decode(text, _decoder) or NOTHING
    if text is not body and bytes(asked.input) == b'""':
        asked.input = msgspec.Raw()  # a long text, whose length the skeleton does not have
    return asked


def model(ask: Ask) -> str:
    """The requested model, clipped; "" if none is named."""
    for name in (ask.model, ask.model_title, ask.model_upper):
        if isinstance(name, str):
            return name[:_MAX_TEXT].encode("utf-8", "replace").decode()
    return ""


def stream(ask: Ask) -> bool:
    """Whether a stream is requested, as lenient servers parse it: true, 1 or "true"."""
    if isinstance(ask.stream, bool):
        return ask.stream
    if ask.stream is ask.stream_title is ask.stream_upper is None:
        return False
    return any(_is_true(value) for value in (ask.stream, ask.stream_title, ask.stream_upper))


def _is_true(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip().lower() in _TRUE
    return isinstance(value, int | float) and value == 1


def notes(ask: Ask, *, path: str, upstream: str) -> dict[str, str]:
    """Parameters that affect the price, as text; of speech input only the length."""
    notes = {}
    for name in _NOTES:
        value = getattr(ask, name)
        if value is not None and isinstance(value, str):
            notes[name] = value[:_MAX_TEXT]
    if path.endswith(_SPEECH) and ask.input:
        notes |= _characters(ask.input)
    if path.endswith(_OCR) and (_given(ask.bbox_annotation_format) or _given(ask.document_annotation_format)):
        notes["annotated"] = "true"
    if ask.tools and path.endswith(_RESPONSES) and (tools := _hosted(ask.tools)):
        notes["tools"] = tools
    if region := _region(upstream):
        notes["region"] = region
    return notes


def _hosted(raw: msgspec.Raw) -> str:
    """Hosted tools whose price depends on their type, as JSON; "" if there are none."""
    text = bytes(raw)
    return offered_tools(raw).decode() if any(name in text for name in _PRICED_TOOLS) else ""


def _characters(text: msgspec.Raw) -> dict[str, str]:
    try:
        return {"characters": str(len(_text.decode(text)))}
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return {}


def _given(raw: msgspec.Raw) -> bool:
    return bytes(raw) not in (b"", b"null")


@lru_cache(maxsize=64)
def _region(upstream: str) -> str:
    match = _REGION.match(upstream)
    return "" if match is None else match.group(1) or match.group(2)
