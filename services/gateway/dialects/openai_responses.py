"""OpenAI's Responses API, whose streams end with the whole response."""

import re
from collections.abc import Iterator
from typing import Any

from services.gateway.dialects import json_objects, message_text
from services.gateway.dialects.dialect import Conversion, Dialect, Overhead, Texts, Variant
from services.gateway.dialects.json_objects import Object, Unconvertible
from services.gateway.parsing import sse
from shared import events, providers

_COMPLETED = "response.completed"
_CALLS = frozenset({"function_call", "custom_tool_call"})  # of tools that the client runs
_CLIENT_ITEMS = frozenset({"message", "reasoning", *_CALLS, "function_call_output", "custom_tool_call_output"})
_SHELL_ITEMS = frozenset(
    f"{tool}_call{end}" for tool in ("shell", "local_shell", "apply_patch") for end in ("", "_output")
)  # of the client, too, and counted as JSON
_NOT_YET = ("usage", "completed_at")

# Item type → the key that comes in fragments, and the event that brings them.
_FRAGMENTS = {
    "function_call": ("arguments", "response.function_call_arguments"),
    "custom_tool_call": ("input", "response.custom_tool_call_input"),
    "mcp_call": ("arguments", "response.mcp_call_arguments"),
    "code_interpreter_call": ("code", "response.code_interpreter_call_code"),
}
# Item type → the states that events announce before and after its fragments.
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


def is_finished(response: Object) -> bool:
    """Whether it is completed: not failed, cut short, or still in progress."""
    return response.get("object") == "response" and response.get("status") == "completed"


def is_stream_finished(datas: list[bytes]) -> bool:
    """Whether a stream's last event holds a completed response."""
    events = [json_objects.decode(data) for data in datas]
    final = events[-1]
    return (
        events[0].get("type") == "response.created"
        and final.get("type") == _COMPLETED
        and is_finished(json_objects.inside(final, "response"))
        and not json_objects.failed(json_objects.inside(final, "response"))
        and not any(map(json_objects.failed, events))
    )


def to_stream(_: bytes, response: Object, __: Variant) -> bytes:
    """The events of a response: each text, summary and argument in one delta."""
    numbered = ({**event, "sequence_number": number} for number, event in enumerate(_events(response)))
    return sse.written((event["type"], json_objects.encode(event)) for event in numbered)


def to_document(datas: list[bytes], _: Variant) -> bytes:
    """The response that the last event holds.

    Its output is collected from earlier events where a provider leaves it out.
    """
    events = [json_objects.decode(data) for data in datas]
    if events[-1].get("type") != _COMPLETED or any(map(json_objects.failed, events)):
        raise Unconvertible("the stream is incomplete")
    response = json_objects.inside(events[-1], "response")
    if not response.get("output"):
        done = [event for event in events if event.get("type") == "response.output_item.done"]
        items = {event.get("output_index"): json_objects.inside(event, "item") for event in done}
        response = response | {"output": list(items.values())}
    return json_objects.encode(response)


def _events(response: Object) -> Iterator[Object]:
    begun = response | {"status": "in_progress", "output": []} | {name: None for name in _NOT_YET if name in response}
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for index, item in enumerate(json_objects.objects(response, "output")):
        yield from _item(item, index)
    yield {"type": _COMPLETED, "response": response}


def _item(item: Object, index: int) -> Iterator[Object]:
    """An item's events. One of an unknown type comes whole with its first and its last, like most that are known."""
    kind = json_objects.text(item.get("type"))
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
        for number, part in enumerate(json_objects.objects(item, "summary")):
            yield from _summary(part, {**where, "summary_index": number})
    if kind in ("message", "reasoning"):
        for number, part in enumerate(json_objects.objects(item, "content")):
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
    event, text = "response.reasoning_summary", json_objects.text(part.get("text"))
    yield {"type": f"{event}_part.added", **where, "part": {**part, "text": ""}}
    yield {"type": f"{event}_text.delta", **where, "delta": text}
    yield {"type": f"{event}_text.done", **where, "text": text}
    yield {"type": f"{event}_part.done", **where, "part": part}


def _part(part: Object, where: Object) -> Iterator[Object]:
    kind: Any = part.get("type")
    if kind not in _PARTS:
        raise Unconvertible(f"how a part {kind} is streamed is unknown")
    key, event = _PARTS[kind]
    text = json_objects.text(part.get(key))
    logprobs = {"logprobs": part.get("logprobs") or []} if kind == "output_text" else {}
    unfilled: Object = {name: [] for name in ("annotations", "logprobs") if part.get(name) is not None}
    yield {"type": "response.content_part.added", **where, "part": {**part, key: "", **unfilled}}
    yield {"type": f"{event}.delta", **where, "delta": text, **logprobs}
    for number, annotation in enumerate(json_objects.objects(part, "annotations")):
        added = {"annotation_index": number, "annotation": annotation}
        yield {"type": "response.output_text.annotation.added", **where, **added}
    yield {"type": f"{event}.done", **where, key: text, **logprobs}
    yield {"type": "response.content_part.done", **where, "part": part}


def _request_text(body: Object) -> Iterator[str]:
    if any(body.get(name) for name in message_text.KEPT_ELSEWHERE):
        raise message_text.NonText
    yield from message_text.content(body.get("instructions"))
    given = body.get("input")
    for item in message_text.objects(given) if isinstance(given, list) else [{"content": given}]:
        kind = item.get("type", "message")
        if kind in _SHELL_ITEMS:
            yield message_text.as_json(item)
            continue
        if kind not in _CLIENT_ITEMS:
            raise message_text.NonText
        yield from message_text.content(item.get("content"))
        yield from message_text.content(item.get("output"))
        yield from message_text.strings(item, "role", "name", "arguments", "input")
    yield from message_text.tools(body.get("tools"))
    yield message_text.as_json(body.get("text"))


def _response_text(event: Object) -> Texts:
    kind, place = message_text.text(event.get("type")), str(event.get("output_index"))
    if kind == "response.output_item.added":
        item = message_text.as_object(event.get("item"))
        kind = message_text.text(item.get("type"))
        if kind.startswith("mcp_") or (kind.endswith("_call") and kind not in _CALLS):
            raise message_text.NonText
        if item.get("name"):
            yield message_text.CALL + place, message_text.text(item.get("name"))
    if kind.endswith(".delta"):
        if "audio" in kind and "transcript" not in kind:
            raise message_text.NonText
        yield place + kind, message_text.text(event.get("delta"))


DIALECT = Dialect(
    name=events.OPENAI_RESPONSES,
    api=providers.OPENAI_API,
    path=re.compile(r"/responses(?:/|$)"),
    terminal_types=frozenset({_COMPLETED, "response.incomplete", "response.failed"}),
    has_end=True,
    event_marks=(b"response.completed", b"response.incomplete", b"response.failed", b"error"),
    usage_names=(
        *("input_tokens", "output_tokens", "total_tokens", "input_tokens_details", "output_tokens_details"),
        *("num_sources_used", "cost_in_usd_ticks", "cost", "is_byok", "cost_details"),
        *("server_side_tool_usage_details", "num_server_side_tools_used"),
    ),
    overhead=Overhead(message=3, prompt=3, call=8),
    request_text=_request_text,
    response_text=_response_text,
    output_maxima=("max_output_tokens",),
    ignored_parameters=frozenset(
        {
            *("stream", "stream_options", "max_output_tokens", "temperature", "top_p"),
            *("user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key"),
        }
    ),
    prompt_is_stored=True,
    conversion=Conversion(
        endpoints=("/responses",),
        is_finished=is_finished,
        is_stream_finished=is_stream_finished,
        to_stream=to_stream,
        to_document=to_document,
    ),
)
