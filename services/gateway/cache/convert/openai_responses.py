"""The Responses API: a response to the events that build it up item by item; the last of these holds it whole."""

from collections.abc import Iterator
from typing import Any

from services.gateway.cache.convert import shape
from services.gateway.cache.convert.shape import Object, Unconvertible
from services.gateway.parsing import sse

_COMPLETED = "response.completed"
_NOT_YET = ("usage", "completed_at")

# Item type → the key that comes in fragments, and the event that brings them.
_FRAGMENTS = {
    "function_call": ("arguments", "response.function_call_arguments"),
    "custom_tool_call": ("input", "response.custom_tool_call_input"),
    "mcp_call": ("arguments", "response.mcp_call_arguments"),
    "code_interpreter_call": ("code", "response.code_interpreter_call_code"),
}
# Item type → the states it is said to pass through, before and behind its fragments.
_STATES = {
    "web_search_call": (("in_progress", "searching"), ("completed",)),
    "file_search_call": (("in_progress", "searching"), ("completed",)),
    "image_generation_call": (("in_progress", "generating"), ("completed",)),
    "code_interpreter_call": (("in_progress",), ("interpreting", "completed")),
    "mcp_call": (("in_progress",), ("completed",)),
    "mcp_list_tools": (("in_progress",), ("completed",)),
}
# Type of a content part → the key of its text, and the event that brings it.
_PARTS = {
    "output_text": ("text", "response.output_text"),
    "refusal": ("refusal", "response.refusal"),
    "reasoning_text": ("text", "response.reasoning_text"),
}


def ended(response: Object) -> bool:
    """It is completed: not failed, cut short, or still at work in the background."""
    return response.get("object") == "response" and response.get("status") == "completed"


def stream_ended(datas: list[bytes]) -> bool:
    """Its last event says so."""
    events = [shape.decode(data) for data in datas]
    final = events[-1]
    return (
        events[0].get("type") == "response.created"
        and final.get("type") == _COMPLETED
        and ended(shape.inside(final, "response"))
        and not shape.failed(shape.inside(final, "response"))
        and not any(map(shape.failed, events))
    )


def to_stream(response: Object) -> bytes:
    """Events of a response: each text, summary and argument in one delta."""
    numbered = ({**event, "sequence_number": number} for number, event in enumerate(_events(response)))
    return sse.written((event["type"], shape.encode(event)) for event in numbered)


def to_document(datas: list[bytes]) -> bytes:
    """The response that the last event holds; its output is put together where a provider leaves that out."""
    events = [shape.decode(data) for data in datas]
    if events[-1].get("type") != _COMPLETED or any(map(shape.failed, events)):
        raise Unconvertible("the stream does not come to its end")
    response = shape.inside(events[-1], "response")
    if not response.get("output"):
        done = [event for event in events if event.get("type") == "response.output_item.done"]
        items = {event.get("output_index"): shape.inside(event, "item") for event in done}
        response = response | {"output": list(items.values())}
    return shape.encode(response)


def _events(response: Object) -> Iterator[Object]:
    begun = response | {"status": "in_progress", "output": []} | {name: None for name in _NOT_YET if name in response}
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for index, item in enumerate(shape.objects(response, "output")):
        yield from _item(item, index)
    yield {"type": _COMPLETED, "response": response}


def _item(item: Object, index: int) -> Iterator[Object]:
    """An item's events. One of an unknown type comes whole with its first and its last, like most that are known."""
    kind = shape.text(item.get("type"))
    where: Object = {"item_id": item.get("id", ""), "output_index": index}
    before, behind = _STATES.get(kind, ((), ()))
    yield {"type": "response.output_item.added", "output_index": index, "item": _begun(item, kind)}
    yield from ({"type": f"response.{kind}.{state}", **where} for state in before)
    if kind in _FRAGMENTS:
        key, event = _FRAGMENTS[kind]
        if isinstance(item.get(key), str):
            done = {"name": item["name"]} if kind == "function_call" and "name" in item else {}
            yield {"type": f"{event}.delta", **where, "delta": item[key]}
            yield {"type": f"{event}.done", **where, key: item[key], **done}
    elif kind == "reasoning":
        for number, part in enumerate(shape.objects(item, "summary")):
            yield from _summary(part, {**where, "summary_index": number})
    if kind in ("message", "reasoning"):
        for number, part in enumerate(shape.objects(item, "content")):
            yield from _part(part, {**where, "content_index": number})
    yield from ({"type": f"response.{kind}.{state}", **where} for state in behind)
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


def _begun(item: Object, kind: str) -> Object:
    """An item as it is announced: what deltas will bring is not there yet."""
    begun = item | ({"status": "in_progress"} if "status" in item else {})
    lists = ("content", "summary") if kind in ("message", "reasoning") else ()
    begun |= {key: [] for key in lists if item.get(key) is not None}
    if kind in _FRAGMENTS and isinstance(item.get(_FRAGMENTS[kind][0]), str):
        begun[_FRAGMENTS[kind][0]] = ""
    return begun


def _summary(part: Object, where: Object) -> Iterator[Object]:
    if part.get("type") != "summary_text":
        raise Unconvertible(f"how a summary {part.get('type')} is streamed is unknown")
    event, text = "response.reasoning_summary", shape.text(part.get("text"))
    yield {"type": f"{event}_part.added", **where, "part": {**part, "text": ""}}
    yield {"type": f"{event}_text.delta", **where, "delta": text}
    yield {"type": f"{event}_text.done", **where, "text": text}
    yield {"type": f"{event}_part.done", **where, "part": part}


def _part(part: Object, where: Object) -> Iterator[Object]:
    kind: Any = part.get("type")
    if kind not in _PARTS:
        raise Unconvertible(f"how a part {kind} is streamed is unknown")
    key, event = _PARTS[kind]
    text = shape.text(part.get(key))
    logprobs = {"logprobs": part.get("logprobs") or []} if kind == "output_text" else {}
    unfilled: Object = {name: [] for name in ("annotations", "logprobs") if part.get(name) is not None}
    yield {"type": "response.content_part.added", **where, "part": {**part, key: "", **unfilled}}
    yield {"type": f"{event}.delta", **where, "delta": text, **logprobs}
    for number, annotation in enumerate(shape.objects(part, "annotations")):
        added = {"annotation_index": number, "annotation": annotation}
        yield {"type": "response.output_text.annotation.added", **where, **added}
    yield {"type": f"{event}.done", **where, key: text, **logprobs}
    yield {"type": "response.content_part.done", **where, "part": part}
