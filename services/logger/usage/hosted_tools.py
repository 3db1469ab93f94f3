"""Usage of OpenAI's hosted tools: calls, container sessions, image model tokens."""

import msgspec

from services.logger.usage.payload import REPORTED, Object, Payload, count, inside, text
from shared.usage import Usage

IMAGE_MODEL = "image_generation"  # stands for the image model when none is named; the price table has its price
SESSION = "code_interpreter_session"
# Output item types, as counted by the gateway → billable tool. Opening a page or searching in it is free.
_CALLS = {
    "web_search_call": "web_search",
    "web_search_call.search": "web_search",
    "web_search_preview_call": "web_search_preview",  # this name occurs in batches only
    "web_search_preview_call.search": "web_search_preview",
    "file_search_call": "file_search",
    "code_interpreter_call": "code_interpreter",
    "image_generation_call": "image_generation",
}
_SEARCH = "web_search"
_PREVIEW = "web_search_preview"


def add(usage: Usage, payload: Payload) -> Usage:
    """Add the usage of hosted tools.

    Where the provider counts the calls itself, as xAI does, its counts take precedence.
    """
    if "server_side_tool_usage_details" in usage.raw:
        return usage
    calls: dict[str, int] = {}
    for item, made in payload.evidence.tools.items():
        if item in _CALLS and count(made):
            calls[_CALLS[item]] = calls.get(_CALLS[item], 0) + made
    stated = _tool_usage(payload)
    if searches := count(inside(stated, "web_search").get("num_requests")):
        calls[_SEARCH] = max(searches, calls.get(_SEARCH, 0))
    if _SEARCH in calls and any(str(tool.get("type")).startswith(_PREVIEW) for tool in payload.offered):
        calls[_PREVIEW] = calls.pop(_SEARCH)
    usage = msgspec.structs.replace(usage, tools=calls)
    if payload.provider != "grok" and calls.pop("code_interpreter", 0):  # xAI bills each call
        usage = _session(usage, payload)
    return _image(usage, inside(stated, "image_gen"), payload)


def _tool_usage(payload: Payload) -> Object:
    for event in reversed(payload.objects):
        if stated := inside(inside(event, "response"), "tool_usage") or inside(event, "tool_usage"):
            return stated
    return {}


def _session(usage: Usage, payload: Payload) -> Usage:
    """Count container sessions, billed instead of calls; inexact, since several requests may share a session."""
    sessions = max(count(payload.evidence.tools.get("containers")), 1)
    return msgspec.structs.replace(usage, tools=usage.tools | {SESSION: sessions}, inexact=(*usage.inexact, SESSION))


def _image(usage: Usage, stated: Object, payload: Payload) -> Usage:
    """Add the image model's tokens as a part, priced by that model."""
    sent = count(stated.get("input_tokens"))
    made = count(stated.get("output_tokens"))
    if not sent and not made:
        return usage
    offered = [text(tool.get("model")) for tool in payload.offered if tool.get("type") == IMAGE_MODEL]
    named = next((model for model in offered if model), "")
    prompt = inside(stated, "input_tokens_details")
    drawn = inside(stated, "output_tokens_details")
    part = Usage(
        model=named if named else IMAGE_MODEL,
        source=REPORTED,
        input_tokens=sent,
        output_tokens=made,
        input_image_tokens=count(prompt.get("image_tokens")),
        output_image_tokens=count(drawn.get("image_tokens")) if "image_tokens" in drawn else made,
        cache_read_tokens=count(prompt.get("cached_tokens")),
    )
    return msgspec.structs.replace(
        usage,
        input_tokens=None if usage.input_tokens is None else usage.input_tokens + sent,
        output_tokens=None if usage.output_tokens is None else usage.output_tokens + made,
        cache_read_tokens=usage.cache_read_tokens + part.cache_read_tokens,
        parts=(*usage.parts, part),
        tools={name: calls for name, calls in usage.tools.items() if name != IMAGE_MODEL},
        inexact=usage.inexact if named else (*usage.inexact, "image_model"),
        raw=f'{{"usage":{usage.raw},"tool_usage":{{"image_gen":{msgspec.json.encode(stated).decode()}}}}}',
    )
