"""Chat completions and legacy completions of OpenAI and compatible APIs."""

import re
from collections.abc import Iterator
from typing import Any

from services.gateway.dialects import chat_choice, json_objects, message_text
from services.gateway.dialects.dialect import Conversion, Dialect, Overhead, Texts, Variant
from services.gateway.dialects.json_objects import Object, Unconvertible
from services.gateway.parsing import sse
from shared import events, providers

_ENDS = frozenset({"stop", "tool_calls", "function_call"})
_ON_EVERY_CHUNK = ("id", "created", "model", "service_tier", "system_fingerprint")
_OBJECTS = {"text_completion": "text_completion", "chat.completion": "chat.completion.chunk"}
_DOCUMENTS = {chunk: document for document, chunk in _OBJECTS.items()}
_PADDING = "obfuscation"
_DOCUMENT = dict.fromkeys(("created", "model", "usage", "service_tier", "system_fingerprint"), json_objects.last)


def is_finished(document: Object) -> bool:
    """Whether every choice finished by itself."""
    choices = json_objects.objects(document, "choices")
    return bool(choices) and all(choice.get("finish_reason") in _ENDS for choice in choices)


def is_stream_finished(datas: list[bytes]) -> bool:
    """Whether a stream ends with [DONE] after every choice finished by itself."""
    if datas[-1] != sse.DONE:
        return False
    chunks = [json_objects.decode(data) for data in datas[:-1]]
    reasons: dict[object, object] = {}
    for choice in (choice for chunk in chunks for choice in json_objects.objects(chunk, "choices")):
        reasons[choice.get("index", 0)] = choice.get("finish_reason") or reasons.get(choice.get("index", 0))
    return (
        bool(reasons)
        and all(reason in _ENDS for reason in reasons.values())
        and not any(map(json_objects.failed, chunks))
    )


def to_stream(_: bytes, document: Object, variant: Variant) -> bytes:
    """Chunks of a completion, each text and each tool call in one delta."""
    choices = sorted(json_objects.objects(document, "choices"), key=_index)
    kind = document.get("object") or "chat.completion"
    if kind not in _OBJECTS or not choices or [_index(choice) for choice in choices] != list(range(len(choices))):
        raise Unconvertible(f"{kind} with other choices than 0, 1, …")
    frame: Object = {name: document[name] for name in _ON_EVERY_CHUNK if name in document} | {"object": _OBJECTS[kind]}
    take_apart = _text_deltas if kind == "text_completion" else chat_choice.choice_deltas
    chunks = [{**frame, "choices": [piece]} for index, one in enumerate(choices) for piece in take_apart(one, index)]
    chunks[-1] |= {name: value for name, value in document.items() if name not in (*frame, "choices", "usage")}
    stated = document.get("usage")
    if variant.usage_on_last_choice and stated is not None:
        chunks[-1]["usage"] = stated
    elif variant.include_usage and not variant.usage_on_last_choice:
        chunks = [{**chunk, "usage": None} for chunk in chunks]
        chunks += [{**frame, "choices": [], "usage": stated}] if stated is not None else []
    return sse.written([*(("", json_objects.encode(chunk)) for chunk in chunks), ("", sse.DONE)])


def to_document(datas: list[bytes], variant: Variant) -> bytes:
    """The completion that a stream's chunks add up to.

    Unconvertible without usage, which a completion always states.
    """
    if datas[-1] != sse.DONE:
        raise Unconvertible("the stream is incomplete")
    chunks = [json_objects.decode(data) for data in datas[:-1]]
    if any(map(json_objects.failed, chunks)):
        raise Unconvertible("an error in the stream")
    document = json_objects.fold(chunks, _DOCUMENT, without=("object", "choices", _PADDING))
    if json_objects.empty(document.get("usage")):
        raise Unconvertible("a stream without usage")
    pieces: dict[int, list[Object]] = {}
    for piece in (piece for chunk in chunks for piece in json_objects.objects(chunk, "choices")):
        pieces.setdefault(_index(piece), []).append(piece)
    kind = json_objects.once([chunk.get("object") for chunk in chunks])
    if kind not in _DOCUMENTS or not pieces:
        raise Unconvertible(f"{kind} without choices")
    choices = [_from_deltas(pieces[index], kind, indexed=variant.indexed_tool_calls) for index in sorted(pieces)]
    if any(not choice.get("finish_reason") for choice in choices):
        raise Unconvertible("a choice is incomplete")
    return json_objects.encode({"object": _DOCUMENTS[kind], **document, "choices": choices})


def _from_deltas(pieces: list[Object], kind: str, *, indexed: bool) -> Object:
    if kind == "text_completion":
        return json_objects.fold(pieces, {"text": json_objects.joined, **chat_choice.CHOICE})
    return chat_choice.choice_from_deltas(pieces, indexed=indexed)


def _text_deltas(choice: Object, index: int) -> Iterator[Object]:
    """A legacy completion's choice: its text, then its end."""
    yield {
        "text": json_objects.text(choice.get("text")),
        "index": index,
        "logprobs": choice.get("logprobs"),
        "finish_reason": None,
    }
    yield {**choice, "text": "", "index": index, "logprobs": None}


def _index(choice: Object) -> int:
    index: Any = choice.get("index", 0)
    if not isinstance(index, int):
        raise Unconvertible("a choice's index is not a number")
    return index


def _request_text(body: Object) -> Iterator[str]:
    for message in message_text.objects(body.get("messages")):
        yield message_text.text(message.get("role"))
        yield from message_text.content(message.get("content"))
        for call in message_text.objects(message.get("tool_calls")):
            yield from message_text.strings(call.get("function"), "name", "arguments")
    yield from message_text.content(body.get("prompt"))  # of /completions
    yield from message_text.tools(body.get("tools"))
    yield message_text.as_json(body.get("response_format"))


def _response_text(event: Object) -> Texts:
    for choice in message_text.objects(event.get("choices")):
        place = str(choice.get("index"))
        yield place, message_text.text(choice.get("text"))  # of /completions
        delta = message_text.as_object(choice.get("delta"))
        if any(delta.get(name) for name in ("audio", "images", "annotations")):
            raise message_text.NonText
        for name in ("content", "reasoning_content", "reasoning", "refusal"):
            for text in message_text.content(delta.get(name)):
                yield place + name, text
        for call in message_text.objects(delta.get("tool_calls")):
            for text in message_text.strings(call.get("function"), "name", "arguments"):
                yield f"{message_text.CALL}{place} {call.get('index')}", text


DIALECT = Dialect(
    name=events.OPENAI_CHAT,
    api=providers.OPENAI_API,
    path=re.compile(r"/completions$"),
    has_end=True,
    may_omit_end=True,
    null_usage=True,
    event_marks=(b"error", sse.DONE),
    finish_reason_before_usage=True,
    can_ask_usage=True,
    usage_names=(
        *("prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details", "completion_tokens_details"),
        *("prompt_audio_seconds", "connectors", "num_sources_used", "cost_in_usd_ticks", "cost"),
        *("is_byok", "cost_details"),
    ),
    overhead=Overhead(message=3, prompt=3, call=8),
    request_text=_request_text,
    response_text=_response_text,
    output_maxima=("max_tokens", "max_completion_tokens"),
    ignored_parameters=frozenset(
        {
            *("stream", "stream_options", "max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k"),
            *("seed", "random_seed", "frequency_penalty", "presence_penalty"),
            *("user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key"),
        }
    ),
    conversion=Conversion(
        endpoints=("/completions",),
        is_finished=is_finished,
        is_stream_finished=is_stream_finished,
        to_stream=to_stream,
        to_document=to_document,
    ),
)
