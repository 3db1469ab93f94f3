"""One choice of a chat completion: its message to the deltas of a stream, and deltas to a message."""

import base64
import binascii
from collections.abc import Iterator
from typing import Any

from services.gateway.cache.convert import shape
from services.gateway.cache.convert.shape import Object, Unconvertible

_FINISH = ("index", "message", "finish_reason", "logprobs")
_BEFORE_CONTENT = ("reasoning_content", "reasoning", "reasoning_details")
_SPOKEN = ("content", "refusal")  # what logprobs belong to


def taken_apart(choice: Object, index: int) -> Iterator[Object]:
    """The choices of the chunks that stream this one: its role, then each part and each tool call whole, its end."""
    message = shape.inside(choice, "message")
    silent = {"logprobs": None} if "logprobs" in choice else {}
    logprobs = dict(silent) if choice.get("logprobs") is None else {"logprobs": choice["logprobs"]}
    opening = {"role": message.get("role") or "assistant"}
    opening |= {name: value for name, value in message.items() if shape.empty(value) and name != "role"}
    if isinstance(message.get("content"), str):
        opening["content"] = ""
    yield {"index": index, "delta": opening, **silent, "finish_reason": None}
    for name, delta in _deltas(message):
        said = silent
        if name in _SPOKEN:
            said, logprobs = logprobs, silent  # the first that is spoken takes them along
        yield {"index": index, "delta": delta, **said, "finish_reason": None}
    rest = {name: value for name, value in choice.items() if name not in _FINISH}
    yield {"index": index, "delta": {}, **logprobs, "finish_reason": choice.get("finish_reason"), **rest}


def _deltas(message: Object) -> Iterator[tuple[str, Object]]:
    """(key, delta) of everything that a message holds; reasoning first, for clients show things as they come."""
    names = [name for name in message if name != "role" and not shape.empty(message[name])]
    for name in sorted(names, key=lambda name: (name not in _BEFORE_CONTENT, name not in _SPOKEN)):
        value = message[name]
        if name == "tool_calls":
            for position, call in enumerate(shape.objects(message, name)):
                yield name, {name: [{**call, "index": position}]}
        elif name == "content" and isinstance(value, list):  # Mistral's parts
            yield from ((name, {name: [part]}) for part in value)
        else:
            yield name, {name: value}


def put_together(pieces: list[Object], *, indexed: bool) -> Object:
    """The choice that a stream's choices of one index add up to. `indexed`: its tool calls keep their index."""
    deltas = [shape.inside(piece, "delta") for piece in pieces]
    message: Object = {"role": "assistant", "content": None}
    message |= shape.fold(deltas, _MESSAGE)
    if calls := message.get("tool_calls"):
        message["tool_calls"] = _calls(calls, indexed=indexed)
    rest = shape.fold(pieces, CHOICE, without=("index", "delta"))
    return {"index": pieces[0].get("index", 0), "message": message, **rest}


def _calls(fragments: list[Object], *, indexed: bool) -> list[Object]:
    """Tool calls of their fragments, told apart by index, and by id: Gemini gives parallel calls one index."""
    calls: list[list[Object]] = []
    open_calls: dict[object, list[Object]] = {}
    for fragment in fragments:
        index, identity = fragment.get("index"), fragment.get("id")
        call = open_calls.get(index) if index is not None else (calls[-1] if calls else None)
        if call is None or (identity and call[0].get("id") not in (None, "", identity)):
            call = []
            calls.append(call)
        open_calls[index] = call
        call.append(fragment)
    calls.sort(key=lambda call: call[0].get("index") or 0)
    return [shape.fold(call, _CALL, without=() if indexed else ("index",)) for call in calls]


def _listed(values: list[Any]) -> Any:
    """Lists of objects as one."""
    return shape.objects({"of": shape.concatenated(values)}, "of") or values[0]


def _content(values: list[Any]) -> Any:
    """Texts joined; with lists of parts among them a list of parts, neighbours of one kind joined."""
    said = [value for value in values if value is not None]
    if not any(isinstance(value, list) for value in said):
        return shape.joined(values)
    parts: list[Object] = []
    for value in said:
        found = [{"type": "text", "text": value}] if isinstance(value, str) else shape.objects({"of": value}, "of")
        for part in found:
            if part == {"type": "text", "text": ""}:
                continue
            if parts and (both := _joined_parts(parts[-1], part)):
                parts[-1] = both
            else:
                parts.append(part)
    return parts


def _joined_parts(one: Object, other: Object) -> Object | None:
    """Two parts as one when they are fragments of one; None when they are not."""
    keys = {*one, *other}
    if one.get("type") != other.get("type"):
        return None
    if keys == {"type", "text"}:
        return {"type": "text", "text": shape.text(one.get("text")) + shape.text(other.get("text"))}
    if keys <= {"type", "thinking", "closed", "signature"} and not one.get("closed") and not one.get("signature"):
        thinking = [*shape.objects(one, "thinking"), *shape.objects(other, "thinking")]
        return {**one, **other, "thinking": _content([thinking])}
    return None


def _base64(values: list[Any]) -> Any:
    """Fragments that were each encoded for itself."""
    said = [shape.text(value) for value in values if value is not None]
    try:
        return base64.b64encode(b"".join(base64.b64decode(one, validate=True) for one in said)).decode()
    except binascii.Error:
        raise Unconvertible("audio is no base64") from None


def _audio(values: list[Any]) -> Any:
    said = shape.objects({"of": [value for value in values if value is not None]}, "of")
    return shape.fold(said, {"data": _base64, "transcript": shape.joined}) if said else None


def _function(values: list[Any]) -> Any:
    """Its name is said once, its arguments (a custom tool's input) come in fragments."""
    said = shape.objects({"of": [value for value in values if value is not None]}, "of")
    return shape.fold(said, {"arguments": shape.joined, "input": shape.joined}) if said else None


_CALL = {"function": _function, "custom": _function}
_MESSAGE = {
    "content": _content,
    "refusal": shape.joined,
    "reasoning_content": shape.joined,
    "reasoning": shape.joined,
    "annotations": _listed,
    "tool_calls": _listed,
    "function_call": _function,
    "audio": _audio,
}
CHOICE = {
    "finish_reason": shape.last,
    "logprobs": shape.same_keys(shape.concatenated),
    "content_filter_results": shape.last,
}
