"""A scene in, the JSON answer of its endpoint out."""

from collections.abc import Sequence
from typing import Any

from deploy.demo.kinds import CHAT, COUNT, EMBEDDINGS, GEMINI, IMAGES, MESSAGES, Kind
from deploy.demo.scene import Scene
from deploy.demo.wire.counts import Object, counts

FUNCTION, ARGUMENTS = (
    "look_up",
    '{"order": "A-1042", "note": "\\"usage\\": {}"}',
)  # arguments that would deceive a search
CREATED = 1_795_500_000  # Unix time: nobody looks at it, and equal questions have equal answers
_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def document(kind: Kind, scene: Scene, *, model: str, text: str, name: str) -> Object:
    """The whole answer. `name`: what the provider calls it."""
    usage = counts(kind, scene.usage) if kind.style != COUNT else {}
    if kind.style == MESSAGES:
        return {
            "id": f"msg_{name}",
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": _blocks(scene, text),
            "stop_reason": "tool_use" if scene.function else "end_turn",
            "stop_sequence": None,
            "usage": usage,
        }
    if kind.style == COUNT:
        return {"input_tokens": scene.usage.input}
    if kind.style == GEMINI:
        return gemini(scene, usage, model=model, text=text, name=name, last=True)
    if kind.style == EMBEDDINGS:
        vector = {"object": "embedding", "embedding": [0.0125, -0.5, 0.25], "index": 0}
        return {"object": "list", "data": [vector], "model": model, "usage": usage}
    if kind.style == IMAGES:
        return {
            "created": CREATED,
            "data": [{"b64_json": _PIXEL}],
            "size": "1024x1024",
            "quality": "medium",
            "usage": usage,
        }
    if kind.style == CHAT:
        return _completion(kind, scene, usage, model=model, text=text, name=name)
    return response(scene, usage, model=model, text=text, name=name)


def response(scene: Scene, usage: Object | None, *, model: str, text: str, name: str) -> Object:
    """An object of the Responses API; without usage one that is still being made."""
    return {
        "id": f"resp_{name}",
        "object": "response",
        "status": "completed" if usage else "in_progress",
        "error": None,
        "model": model,
        "output": _items(scene, text, name) if usage else [],
        "service_tier": "default" if usage else "auto",
        "usage": usage,
    }


def gemini(scene: Scene, usage: Object, *, model: str, text: str, name: str, last: bool) -> Object:
    """A native answer, or one chunk of a stream."""
    parts: list[Object] = [{"text": text}]
    if scene.function and last:
        parts.append({"functionCall": {"name": FUNCTION, "args": {"order": "A-1042"}}})
    candidate: Object = {"content": {"parts": parts, "role": "model"}, "index": 0}
    if last:
        candidate["finishReason"] = "STOP"
        if searches := scene.usage.tools.get("google_search"):
            candidate["groundingMetadata"] = {"webSearchQueries": [f"query {number}" for number in range(searches)]}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": model, "responseId": name}


def tool_calls(scene: Scene, name: str) -> list[Object]:
    """The function calls of a chat completion."""
    call = {"id": f"call_{name}", "type": "function", "function": {"name": FUNCTION, "arguments": ARGUMENTS}}
    return [call] if scene.function else []


def _blocks(scene: Scene, text: str) -> Sequence[Object]:
    blocks: list[Object] = [{"type": "text", "text": text}]
    if scene.function:
        blocks.append({"type": "tool_use", "id": "toolu_demo", "name": FUNCTION, "input": {"order": "A-1042"}})
    return blocks


def _items(scene: Scene, text: str, name: str) -> list[Object]:
    """Output items: searches, the text, a function call."""
    searches = scene.usage.tools.get("web_search", 0)
    action = {"type": "search", "query": "harbour dues"}
    items: list[Object] = [
        {"id": f"ws_{name}_{number}", "type": "web_search_call", "status": "completed", "action": action}
        for number in range(searches)
    ]
    part: dict[str, Any] = {"type": "output_text", "annotations": [], "text": text}
    items.append({"id": f"msg_{name}", "type": "message", "role": "assistant", "content": [part]})
    if scene.function:
        items.append({"type": "function_call", "call_id": f"call_{name}", "name": FUNCTION, "arguments": ARGUMENTS})
    return items


def _completion(kind: Kind, scene: Scene, usage: Object, *, model: str, text: str, name: str) -> Object:
    message: Object = {"role": "assistant", "content": text}
    if calls := tool_calls(scene, name):
        message["tool_calls"] = calls
    found: Object = {
        "id": f"chatcmpl-{name}",
        "object": "chat.completion",
        "created": CREATED,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop"}],
        "usage": usage,
    }
    return found if kind.provider in ("mistral", "gemini") else found | {"service_tier": "default"}
