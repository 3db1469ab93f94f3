"""A scene in, the events of its streamed answer out."""

from collections.abc import Sequence

import msgspec

from deploy.demo.kinds import CHAT, GEMINI, MESSAGES, Kind
from deploy.demo.scene import Scene
from deploy.demo.wire.counts import Object, counts
from deploy.demo.wire.document import ARGUMENTS, CREATED, FUNCTION, gemini, response, tool_calls

DONE = "[DONE]"
Event = Object | str

_encode = msgspec.json.Encoder().encode


def encode(kind: Kind, event: Event) -> bytes:
    """An event's bytes: Gemini ends lines its own way, Anthropic and the Responses API name their events."""
    data = event.encode() if isinstance(event, str) else _encode(event)
    if kind.style == GEMINI:
        return b"data: %s\r\n\r\n" % data
    if kind.style == CHAT or isinstance(event, str) or "type" not in event:
        return b"data: %s\n\n" % data
    return b"event: %s\ndata: %s\n\n" % (str(event["type"]).encode(), data)


def events(
    kind: Kind, scene: Scene, *, model: str, pieces: Sequence[str], name: str, include_usage: bool = True
) -> list[Event]:
    """The whole stream, its text in `pieces`. `include_usage`: whether an OpenAI-style one was asked for its usage."""
    if kind.style == MESSAGES:
        return _messages(kind, scene, model=model, pieces=pieces, name=name)
    if kind.style == GEMINI:
        return _gemini(kind, scene, model=model, pieces=pieces, name=name)
    if kind.style == CHAT:
        return _chat(kind, scene, model=model, pieces=pieces, name=name, include_usage=include_usage)
    return _responses(kind, scene, model=model, pieces=pieces, name=name)


def _messages(kind: Kind, scene: Scene, *, model: str, pieces: Sequence[str], name: str) -> list[Event]:
    final = counts(kind, scene.usage)
    begun = {key: value for key, value in final.items() if key not in ("server_tool_use", "output_tokens_details")}
    message = {"id": f"msg_{name}", "type": "message", "role": "assistant", "model": model, "content": []}
    found: list[Event] = [
        {"type": "message_start", "message": message | {"usage": begun | {"output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
    ]
    found += [_delta(0, {"type": "text_delta", "text": piece}) for piece in pieces]
    found.append({"type": "content_block_stop", "index": 0})
    if scene.function:
        block = {"type": "tool_use", "id": f"toolu_{name}", "name": FUNCTION, "input": {}}
        found += [
            {"type": "content_block_start", "index": 1, "content_block": block},
            _delta(1, {"type": "input_json_delta", "partial_json": ARGUMENTS}),
            {"type": "content_block_stop", "index": 1},
        ]
    reason = {"stop_reason": "tool_use" if scene.function else "end_turn", "stop_sequence": None}
    closing = {key: value for key, value in final.items() if key not in ("cache_creation", "service_tier")}
    return [*found, {"type": "message_delta", "delta": reason, "usage": closing}, {"type": "message_stop"}]


def _delta(index: int, delta: Object) -> Object:
    return {"type": "content_block_delta", "index": index, "delta": delta}


def _gemini(kind: Kind, scene: Scene, *, model: str, pieces: Sequence[str], name: str) -> list[Event]:
    """Each chunk bears the numbers so far."""
    final, found = counts(kind, scene.usage), list[Event]()
    for number, piece in enumerate(pieces, 1):
        last = number == len(pieces)
        made = final["candidatesTokenCount"] * number // len(pieces)
        usage = final if last else final | {"candidatesTokenCount": made}
        found.append(gemini(scene, usage, model=model, text=piece, name=name, last=last))
    return found


def _chat(
    kind: Kind, scene: Scene, *, model: str, pieces: Sequence[str], name: str, include_usage: bool
) -> list[Event]:
    """OpenAI and Grok: usage in a chunk of its own, when asked for. Mistral: on the last. Gemini: on every chunk."""
    usage = counts(kind, scene.usage)
    base: Object = {"id": f"chatcmpl-{name}", "object": "chat.completion.chunk", "created": CREATED, "model": model}
    own_chunk = kind.provider in ("openai", "grok")
    each: Object = {"usage": None} if own_chunk and include_usage else {}
    every: Object = {"usage": usage} if kind.provider == "gemini" and include_usage else {}
    closing: Object = {"usage": usage} if kind.provider == "mistral" else every
    if own_chunk:
        base["service_tier"] = "default"

    def chunk(delta: Object, beside: Object, finish: str | None = None) -> Object:
        return base | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]} | beside

    found: list[Event] = [chunk({"role": "assistant", "content": ""}, each or every)]
    found += [chunk({"content": piece}, each or every) for piece in pieces]
    calls = [call | {"index": 0} for call in tool_calls(scene, name)]
    if calls:
        found.append(chunk({"tool_calls": calls}, each or every))
    found.append(chunk({}, each or closing, "tool_calls" if calls else "stop"))
    if own_chunk and include_usage:
        found.append(base | {"choices": [], "usage": usage})
    return [*found, DONE]


def _responses(kind: Kind, scene: Scene, *, model: str, pieces: Sequence[str], name: str) -> list[Event]:
    text, usage = "".join(pieces), counts(kind, scene.usage)
    begun = response(scene, None, model=model, text="", name=name)
    ended = response(scene, usage, model=model, text=text, name=name)
    found: list[Event] = [{"type": f"response.{step}", "response": begun} for step in ("created", "in_progress")]
    found += [
        {"type": "response.output_text.delta", "item_id": f"msg_{name}", "output_index": 0, "delta": piece}
        for piece in pieces
    ]
    found += [
        {"type": "response.output_text.done", "item_id": f"msg_{name}", "output_index": 0, "text": text},
        {"type": "response.completed", "response": ended},
    ]
    for number, event in enumerate(found):
        assert isinstance(event, dict)
        event["sequence_number"] = number
    return found
