"""Gemini's native API: an answer, the chunks of a stream (each an answer in part), and the array of chunks."""

import base64
import binascii
from typing import Any

import msgspec

from services.gateway.cache.convert import shape
from services.gateway.cache.convert.shape import Object, Unconvertible
from services.gateway.parsing import sse

_ENDS = frozenset({"STOP"})
_LINE_END = b"\r\n"  # as Google writes it
_CHUNKS = msgspec.json.Decoder(list[msgspec.Raw])
_MERGED_AUDIO = ("audio/l16", "audio/pcm")  # samples without a head: pieces of one recording are just its parts


def ended(document: Object) -> bool:
    """Every candidate came to its end by itself, and there is one: a blocked prompt has none."""
    candidates = shape.objects(document, "candidates")
    return bool(candidates) and all(one.get("finishReason") in _ENDS for one in candidates)


def stream_ended(datas: list[bytes]) -> bool:
    """The same of a stream: its end is the end of its candidates."""
    chunks = [shape.decode(data) for data in datas]
    reasons: dict[object, object] = {}
    for candidate in (one for chunk in chunks for one in shape.objects(chunk, "candidates")):
        index = candidate.get("index", 0)
        reasons[index] = candidate.get("finishReason") or reasons.get(index)
    return bool(reasons) and all(reason in _ENDS for reason in reasons.values()) and not any(map(shape.failed, chunks))


def to_stream(document: bytes) -> bytes:
    """An answer as a stream of one chunk, for a chunk is an answer."""
    return sse.written([("", document)], end=_LINE_END)


def to_document(datas: list[bytes]) -> bytes:
    """The answer that chunks add up to."""
    chunks = [shape.decode(data) for data in datas]
    if any(map(shape.failed, chunks)):
        raise Unconvertible("an error in the stream")
    pieces: dict[Any, list[Object]] = {}
    for candidate in (one for chunk in chunks for one in shape.objects(chunk, "candidates")):
        pieces.setdefault(candidate.get("index", 0), []).append(candidate)
    candidates = [shape.fold(found, _CANDIDATE) for found in pieces.values()]
    if not candidates or any(not one.get("finishReason") for one in candidates):
        raise Unconvertible("a candidate does not come to its end")
    return shape.encode({"candidates": candidates, **shape.fold(chunks, _DOCUMENT, without=("candidates",))})


def to_array(datas: list[bytes]) -> bytes:
    """The chunks as one JSON array, the form of a stream that was not asked for as server-sent events."""
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
    said = shape.objects({"of": [value for value in values if value is not None]}, "of")
    return shape.fold(said, {"parts": _parts}) if said else None


def _parts(values: list[Any]) -> list[Object]:
    """Parts of one chunk are parts; only where two chunks meet may one have been cut in two."""
    parts: list[Object] = []
    for value in values:
        for position, part in enumerate(shape.objects({"of": value}, "of")):
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
        return {**one, "text": shape.text(one["text"]) + shape.text(other["text"])}
    if keys == {"inlineData"}:
        return _joined_audio(shape.inside(one, "inlineData"), shape.inside(other, "inlineData"))
    return None


def _joined_audio(one: Object, other: Object) -> Object | None:
    kind = str(one.get("mimeType")).lower()
    if kind != str(other.get("mimeType")).lower() or not kind.startswith("audio/"):
        return None
    if not kind.startswith(_MERGED_AUDIO):
        raise Unconvertible(f"pieces of {kind} are no recording")
    try:
        data = b"".join(base64.b64decode(shape.text(found.get("data")), validate=True) for found in (one, other))
    except binascii.Error:
        raise Unconvertible("audio is no base64") from None
    return {"inlineData": {**one, "data": base64.b64encode(data).decode()}}


_LISTS = shape.same_keys(shape.concatenated)
_CANDIDATE = {
    "content": _content,
    "finishReason": shape.last,
    "safetyRatings": shape.last,
    "tokenCount": shape.last,
    "citationMetadata": _LISTS,
}
_DOCUMENT = dict.fromkeys(("usageMetadata", "modelVersion", "responseId", "createTime"), shape.last)
