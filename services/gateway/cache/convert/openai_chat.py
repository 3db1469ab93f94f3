"""Chat completions, and legacy completions, as OpenAI, Grok, Mistral and Gemini's compatible API write them."""

from collections.abc import Iterator
from typing import Any

from services.gateway.cache.convert import chat_choice, shape
from services.gateway.cache.convert.shape import Object, Unconvertible
from services.gateway.parsing import sse

_ENDS = frozenset({"stop", "tool_calls", "function_call"})
_ON_EVERY_CHUNK = ("id", "created", "model", "service_tier", "system_fingerprint")
_OBJECTS = {"text_completion": "text_completion", "chat.completion": "chat.completion.chunk"}
_DOCUMENTS = {chunk: document for document, chunk in _OBJECTS.items()}
_PADDING = "obfuscation"
_DOCUMENT = dict.fromkeys(("created", "model", "usage", "service_tier", "system_fingerprint"), shape.last)


def ended(document: Object) -> bool:
    """Every choice came to its end by itself."""
    choices = shape.objects(document, "choices")
    return bool(choices) and all(choice.get("finish_reason") in _ENDS for choice in choices)


def stream_ended(datas: list[bytes]) -> bool:
    """The same of a stream, which says [DONE] at its end."""
    if datas[-1] != sse.DONE:
        return False
    chunks = [shape.decode(data) for data in datas[:-1]]
    reasons: dict[object, object] = {}
    for choice in (choice for chunk in chunks for choice in shape.objects(chunk, "choices")):
        reasons[choice.get("index", 0)] = choice.get("finish_reason") or reasons.get(choice.get("index", 0))
    return bool(reasons) and all(reason in _ENDS for reason in reasons.values()) and not any(map(shape.failed, chunks))


def to_stream(document: Object, *, usage: bool, rides: bool) -> bytes:
    """Chunks of a completion. `usage`: a last chunk without choices has it. `rides`: the last with choices has it."""
    choices = sorted(shape.objects(document, "choices"), key=_index)
    kind = document.get("object") or "chat.completion"
    if kind not in _OBJECTS or not choices or [_index(choice) for choice in choices] != list(range(len(choices))):
        raise Unconvertible(f"{kind} with other choices than 0, 1, …")
    frame: Object = {name: document[name] for name in _ON_EVERY_CHUNK if name in document} | {"object": _OBJECTS[kind]}
    take_apart = _text_taken_apart if kind == "text_completion" else chat_choice.taken_apart
    chunks = [{**frame, "choices": [piece]} for index, one in enumerate(choices) for piece in take_apart(one, index)]
    chunks[-1] |= {name: value for name, value in document.items() if name not in (*frame, "choices", "usage")}
    stated = document.get("usage")
    if rides and stated is not None:
        chunks[-1]["usage"] = stated
    elif usage and not rides:
        chunks = [{**chunk, "usage": None} for chunk in chunks]
        chunks += [{**frame, "choices": [], "usage": stated}] if stated is not None else []
    return sse.written([*(("", shape.encode(chunk)) for chunk in chunks), ("", sse.DONE)])


def to_document(datas: list[bytes], *, indexed: bool) -> bytes:
    """The completion that chunks add up to; Unconvertible without usage, which a completion always states."""
    if datas[-1] != sse.DONE:
        raise Unconvertible("the stream does not come to its end")
    chunks = [shape.decode(data) for data in datas[:-1]]
    if any(map(shape.failed, chunks)):
        raise Unconvertible("an error in the stream")
    document = shape.fold(chunks, _DOCUMENT, without=("object", "choices", _PADDING))
    if shape.empty(document.get("usage")):
        raise Unconvertible("a stream without usage")
    pieces: dict[int, list[Object]] = {}
    for piece in (piece for chunk in chunks for piece in shape.objects(chunk, "choices")):
        pieces.setdefault(_index(piece), []).append(piece)
    kind = shape.once([chunk.get("object") for chunk in chunks])
    if kind not in _DOCUMENTS or not pieces:
        raise Unconvertible(f"{kind} without choices")
    choices = [_put_together(pieces[index], kind, indexed=indexed) for index in sorted(pieces)]
    if any(not choice.get("finish_reason") for choice in choices):
        raise Unconvertible("a choice does not come to its end")
    return shape.encode({"object": _DOCUMENTS[kind], **document, "choices": choices})


def _put_together(pieces: list[Object], kind: str, *, indexed: bool) -> Object:
    if kind == "text_completion":
        return shape.fold(pieces, {"text": shape.joined, **chat_choice.CHOICE})
    return chat_choice.put_together(pieces, indexed=indexed)


def _text_taken_apart(choice: Object, index: int) -> Iterator[Object]:
    """A legacy completion's choice: its text, then its end."""
    yield {
        "text": shape.text(choice.get("text")),
        "index": index,
        "logprobs": choice.get("logprobs"),
        "finish_reason": None,
    }
    yield {**choice, "text": "", "index": index, "logprobs": None}


def _index(choice: Object) -> int:
    index: Any = choice.get("index", 0)
    if not isinstance(index, int):
        raise Unconvertible("a choice's index is no number")
    return index
