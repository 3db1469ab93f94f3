"""Gemini's native API, which streams events or one JSON array of chunks."""

import base64
import binascii
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from services.gateway.dialects import json_objects, message_text
from services.gateway.dialects.dialect import Conversion, Dialect, Overhead, Texts, Variant
from services.gateway.dialects.json_objects import Object, Unconvertible
from services.gateway.parsing import sse
from shared import events, providers

_ENDS = frozenset({"STOP"})
_LINE_END = b"\r\n"  # as Google writes it
_CHUNKS = msgspec.json.Decoder(list[msgspec.Raw])
_MERGED_AUDIO = ("audio/l16", "audio/pcm")  # samples without a head: pieces of one recording are just its parts


def is_finished(document: Object) -> bool:
    """Whether every candidate finished by itself; a blocked prompt has none."""
    candidates = json_objects.objects(document, "candidates")
    return bool(candidates) and all(one.get("finishReason") in _ENDS for one in candidates)


def is_stream_finished(datas: list[bytes]) -> bool:
    """Whether every candidate finished by itself; nothing else marks a stream's end."""
    chunks = [json_objects.decode(data) for data in datas]
    reasons: dict[object, object] = {}
    for candidate in (one for chunk in chunks for one in json_objects.objects(chunk, "candidates")):
        index = candidate.get("index", 0)
        reasons[index] = candidate.get("finishReason") or reasons.get(index)
    return (
        bool(reasons)
        and all(reason in _ENDS for reason in reasons.values())
        and not any(map(json_objects.failed, chunks))
    )


def to_stream(document: bytes, _: Object, __: Variant) -> bytes:
    """A document as a stream of one chunk, for every chunk is a document."""
    return sse.written([("", document)], end=_LINE_END)


def to_document(datas: list[bytes], _: Variant) -> bytes:
    """The document that a stream's chunks add up to."""
    chunks = [json_objects.decode(data) for data in datas]
    if any(map(json_objects.failed, chunks)):
        raise Unconvertible("an error in the stream")
    pieces: dict[Any, list[Object]] = {}
    for candidate in (one for chunk in chunks for one in json_objects.objects(chunk, "candidates")):
        pieces.setdefault(candidate.get("index", 0), []).append(candidate)
    candidates = [json_objects.fold(candidate_pieces, _CANDIDATE) for candidate_pieces in pieces.values()]
    if not candidates or any(not one.get("finishReason") for one in candidates):
        raise Unconvertible("a candidate is incomplete")
    return json_objects.encode(
        {"candidates": candidates, **json_objects.fold(chunks, _DOCUMENT, without=("candidates",))}
    )


def to_array(datas: list[bytes]) -> bytes:
    """The chunks as one JSON array: a stream that was not requested with alt=sse."""
    return b"[%s]" % b"\n,\r\n".join(datas)


def from_array(array: bytes) -> bytes:
    """The chunks of an array as a stream of events."""
    try:
        chunks = _CHUNKS.decode(array)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Unconvertible(f"no array of chunks: {error}") from None
    return sse.written((("", bytes(chunk)) for chunk in chunks), end=_LINE_END)


def _content(values: list[Any]) -> Any:
    """Contents of one candidate; texts that follow each other are one part, as are pieces of a recording."""
    present = json_objects.objects({"of": [value for value in values if value is not None]}, "of")
    return json_objects.fold(present, {"parts": _parts}) if present else None


def _parts(values: list[Any]) -> list[Object]:
    """Parts of one chunk are parts; only where two chunks meet may one have been cut in two."""
    parts: list[Object] = []
    for value in values:
        for position, part in enumerate(json_objects.objects({"of": value}, "of")):
            call = part.get("functionCall")
            if isinstance(call, dict) and (call.get("partialArgs") or call.get("willContinue")):
                raise Unconvertible("a call whose arguments come in fragments")
            if position == 0 and parts and (both := _joined_parts(parts[-1], part)):
                parts[-1] = both
            else:
                parts.append(part)
    return parts


def _joined_parts(one: Object, other: Object) -> Object | None:
    """Two parts as one when they are fragments of one; None when they are not. Signed parts stay as they are."""
    keys = {*one, *other}
    if keys <= {"text", "thought"} and "text" in one and "text" in other and one.get("thought") == other.get("thought"):
        return {**one, "text": json_objects.text(one["text"]) + json_objects.text(other["text"])}
    if keys == {"inlineData"}:
        return _joined_audio(json_objects.inside(one, "inlineData"), json_objects.inside(other, "inlineData"))
    return None


def _joined_audio(one: Object, other: Object) -> Object | None:
    kind = str(one.get("mimeType")).lower()
    if kind != str(other.get("mimeType")).lower() or not kind.startswith("audio/"):
        return None
    if not kind.startswith(_MERGED_AUDIO):
        raise Unconvertible(f"pieces of {kind} are no recording")
    try:
        data = b"".join(base64.b64decode(json_objects.text(part.get("data")), validate=True) for part in (one, other))
    except binascii.Error:
        raise Unconvertible("audio is not valid base64") from None
    return {"inlineData": {**one, "data": base64.b64encode(data).decode()}}


_LISTS = json_objects.same_keys(json_objects.concatenated)
_CANDIDATE = {
    "content": _content,
    "finishReason": json_objects.last,
    "safetyRatings": json_objects.last,
    "tokenCount": json_objects.last,
    "citationMetadata": _LISTS,
}
_DOCUMENT = dict.fromkeys(("usageMetadata", "modelVersion", "responseId", "createTime"), json_objects.last)


def _request_text(body: Object) -> Iterator[str]:
    if any(body.get(name) for name in message_text.KEPT_ELSEWHERE):
        raise message_text.NonText
    for content in (
        body.get("systemInstruction") or body.get("system_instruction"),
        *message_text.objects(body.get("contents")),
    ):
        for _, text in part_texts(message_text.as_object(content)):
            yield text
    for tool in message_text.objects(body.get("tools")):
        yield message_text.as_json(tool)


def _response_text(event: Object) -> Texts:
    for candidate in message_text.objects(event.get("candidates")):
        if candidate.get("groundingMetadata") or candidate.get("urlContextMetadata"):
            raise message_text.NonText
        place = str(candidate.get("index"))
        for kind, text in part_texts(message_text.as_object(candidate.get("content"))):
            yield place + kind, text


def part_texts(content: Object) -> Texts:
    """Gemini's parts, of a prompt or a response: (key, text)."""
    for part in message_text.objects(content.get("parts")):
        for name, value in part.items():
            if name == "text":
                yield name, message_text.text(value)
            elif name in ("functionCall", "functionResponse", "function_call", "function_response"):
                yield name, message_text.as_json(value)
            elif name not in ("thought", "thoughtSignature", "thought_signature"):
                raise message_text.NonText


DIALECT = Dialect(
    name=events.GEMINI,
    api=providers.GEMINI_API,
    usage_marks=(b'"usageMetadata"',),
    null_usage=True,
    event_marks=(b"error", b'"finishReason"', b'"blockReason"'),
    marks_beside_usage=(b'"groundingMetadata"',),
    response_mark=re.compile(rb'"candidates"\s*:\s*\[\s*[^\]\s]'),
    usage_names=(
        *("promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount", "toolUsePromptTokenCount"),
        *("cachedContentTokenCount", "totalTokenCount", "promptTokensDetails", "promptTokenDetails"),
        *("candidatesTokensDetails", "cacheTokensDetails", "toolUsePromptTokensDetails", "serviceTier", "trafficType"),
        *("total_input_tokens", "total_output_tokens", "total_thought_tokens", "total_tool_use_tokens"),
        *("total_cached_tokens", "grounding_tool_count"),
        *("input_tokens_by_modality", "output_tokens_by_modality", "cached_tokens_by_modality"),
        "tool_use_tokens_by_modality",
    ),
    overhead=Overhead(message=0, prompt=0, call=0, scale=1.05),
    request_text=_request_text,
    response_text=_response_text,
    output_maxima=("maxOutputTokens",),
    maxima_in="generationConfig",
    ignored_parameters=frozenset(
        {
            *("maxOutputTokens", "max_output_tokens", "temperature", "topP", "topK", "seed"),
            *("presencePenalty", "frequencyPenalty"),
        }
    ),
    stream_path=":streamGenerateContent",
    document_path=":generateContent",
    conversion=Conversion(
        endpoints=(":generateContent", ":streamGenerateContent"),
        is_finished=is_finished,
        is_stream_finished=is_stream_finished,
        to_stream=to_stream,
        to_document=to_document,
        to_array=to_array,
        from_array=from_array,
    ),
    document_only={":embedContent": "embedding", ":batchEmbedContents": "embeddings"},
    event_stream_type="text/event-stream",
    document_type="application/json; charset=UTF-8",
)
