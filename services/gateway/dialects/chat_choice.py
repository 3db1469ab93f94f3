"""One choice of a chat completion, converted between message and deltas."""

import base64
import binascii
from collections.abc import Iterator
from typing import Any

from services.gateway.dialects import json_objects
from services.gateway.dialects.json_objects import Object, Unconvertible

_FINISH = ("index", "message", "finish_reason", "logprobs")
_BEFORE_CONTENT = ("reasoning_content", "reasoning", "reasoning_details")
_SPOKEN = ("content", "refusal")  # what logprobs belong to


def choice_deltas(choice: Object, index: int) -> Iterator[Object]:
    """The deltas that stream a choice: its role, each part, each tool call, its end."""
    message = json_objects.inside(choice, "message")
    silent = {"logprobs": None} if "logprobs" in choice else {}
    logprobs = dict(silent) if choice.get("logprobs") is None else {"logprobs": choice["logprobs"]}
    opening = {"role": message.get("role") or "assistant"}
    opening |= {name: value for name, value in message.items() if json_objects.empty(value) and name != "role"}
    if isinstance(message.get("content"), str):
        opening["content"] = ""
    yield {"index": index, "delta": opening, **silent, "finish_reason": None}
    for name, delta in _deltas(message):
        spoken = silent
        if name in _SPOKEN:
            spoken = logprobs  # of the first delta with text
            logprobs = silent
        yield {"index": index, "delta": delta, **spoken, "finish_reason": None}
    rest = {name: value for name, value in choice.items() if name not in _FINISH}
    yield {"index": index, "delta": {}, **logprobs, "finish_reason": choice.get("finish_reason"), **rest}


def _deltas(message: Object) -> Iterator[tuple[str, Object]]:
    """(key, delta) of everything that a message holds; reasoning first, for clients show things as they come."""
    names = [name for name in message if name != "role" and not json_objects.empty(message[name])]
    for name in sorted(names, key=lambda name: (name not in _BEFORE_CONTENT, name not in _SPOKEN)):
        value = message[name]
        if name == "tool_calls":
            for position, call in enumerate(json_objects.objects(message, name)):
                yield name, {name: [{**call, "index": position}]}
        elif name == "content" and isinstance(value, list):  # Mistral's parts
            yield from ((name, {name: [part]}) for part in value)
        else:
            yield name, {name: value}


def choice_from_deltas(pieces: list[Object], *, indexed: bool) -> Object:
    """The choice that a stream's deltas build.

    `pieces`: the stream's choices of one index. `indexed`: its tool calls keep their index.
    """
    deltas = [json_objects.inside(piece, "delta") for piece in pieces]
    message: Object = {"role": "assistant", "content": None}
    message |= json_objects.fold(deltas, _MESSAGE)
    if calls := message.get("tool_calls"):
        message["tool_calls"] = _calls(calls, indexed=indexed)
    rest = json_objects.fold(pieces, CHOICE, without=("index", "delta"))
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
    return [json_objects.fold(call, _CALL, without=() if indexed else ("index",)) for call in calls]


def _listed(values: list[Any]) -> Any:
    """Lists of objects as one."""
    return json_objects.objects({"of": json_objects.concatenated(values)}, "of") or values[0]


def _content(values: list[Any]) -> Any:
    """Texts joined; with lists of parts among them a list of parts, neighbours of one kind joined."""
    present = [value for value in values if value is not None]
    if not any(isinstance(value, list) for value in present):
        return json_objects.joined(values)
    parts: list[Object] = []
    for value in present:
        found = (
            [{"type": "text", "text": value}] if isinstance(value, str) else json_objects.objects({"of": value}, "of")
        )
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
        return {"type": "text", "text": json_objects.text(one.get("text")) + json_objects.text(other.get("text"))}
    if keys <= {"type", "thinking", "closed", "signature"} and not one.get("closed") and not one.get("signature"):
        thinking = [*json_objects.objects(one, "thinking"), *json_objects.objects(other, "thinking")]
        return {**one, **other, "thinking": _content([thinking])}
    return None


def _base64(values: list[Any]) -> Any:
    """Fragments that were each encoded for itself."""
    present = [json_objects.text(value) for value in values if value is not None]
    try:
        return base64.b64encode(b"".join(base64.b64decode(one, validate=True) for one in present)).decode()
    except binascii.Error:
        raise Unconvertible("audio is not valid base64") from None


def _audio(values: list[Any]) -> Any:
    present = json_objects.objects({"of": [value for value in values if value is not None]}, "of")
    return json_objects.fold(present, {"data": _base64, "transcript": json_objects.joined}) if present else None


def _function(values: list[Any]) -> Any:
    """Its name comes once, its arguments (a custom tool's input) come in fragments."""
    present = json_objects.objects({"of": [value for value in values if value is not None]}, "of")
    fragments = {"arguments": json_objects.joined, "input": json_objects.joined}
    return json_objects.fold(present, fragments) if present else None


_CALL = {"function": _function, "custom": _function}
_MESSAGE = {
    "content": _content,
    "refusal": json_objects.joined,
    "reasoning_content": json_objects.joined,
    "reasoning": json_objects.joined,
    "annotations": _listed,
    "tool_calls": _listed,
    "function_call": _function,
    "audio": _audio,
}
CHOICE = {
    "finish_reason": json_objects.last,
    "logprobs": json_objects.same_keys(json_objects.concatenated),
    "content_filter_results": json_objects.last,
}
