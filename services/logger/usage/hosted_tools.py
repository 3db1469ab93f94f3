"""Tools that OpenAI runs in a response: counted calls, a container's session, the tokens of an image model."""

import msgspec

from services.logger.usage.payload import REPORTED, Object, Payload, count, inside, text
from shared.usage import Usage

IMAGE_MODEL = "image_generation"  # the model that draws where nobody names one; the price table says which that is
SESSION = "code_interpreter_session"
# Item types of the output, as the gateway counts them → billable tool. Opening a page or finding in it is free.
_CALLS = {
    "web_search_call": "web_search",
    "web_search_call.search": "web_search",
    "web_search_preview_call": "web_search_preview",  # so named in batches alone
    "web_search_preview_call.search": "web_search_preview",
    "file_search_call": "file_search",
    "code_interpreter_call": "code_interpreter",
    "image_generation_call": "image_generation",
}
_SEARCH, _PREVIEW = "web_search", "web_search_preview"


def add(used: Usage, answer: Payload) -> Usage:
    """The usage with what hosted tools add to it. A provider's own count of calls, which xAI states, beats ours."""
    if "server_side_tool_usage_details" in used.raw:
        return used
    calls: dict[str, int] = {}
    for item, made in answer.evidence.tools.items():
        if item in _CALLS and count(made):
            calls[_CALLS[item]] = calls.get(_CALLS[item], 0) + made
    stated = _tool_usage(answer)
    if searches := count(inside(stated, "web_search").get("num_requests")):
        calls[_SEARCH] = max(searches, calls.get(_SEARCH, 0))
    if _SEARCH in calls and any(str(tool.get("type")).startswith(_PREVIEW) for tool in answer.offered):
        calls[_PREVIEW] = calls.pop(_SEARCH)
    used = msgspec.structs.replace(used, tools=calls)
    if answer.provider != "grok" and calls.pop("code_interpreter", 0):  # xAI bills each call
        used = _session(used, answer)
    return _image(used, inside(stated, "image_gen"), answer)


def _tool_usage(answer: Payload) -> Object:
    for one in reversed(answer.objects):
        if found := inside(inside(one, "response"), "tool_usage") or inside(one, "tool_usage"):
            return found
    return {}


def _session(used: Usage, answer: Payload) -> Usage:
    """Code runs in a container that is billed by session, whatever the calls; one may be shared by several requests."""
    sessions = max(count(answer.evidence.tools.get("containers")), 1)
    return msgspec.structs.replace(used, tools=used.tools | {SESSION: sessions}, inexact=(*used.inexact, SESSION))


def _image(used: Usage, found: Object, answer: Payload) -> Usage:
    """The image model's tokens stand beside the usage and are priced by that model."""
    sent = count(found.get("input_tokens"))
    made = count(found.get("output_tokens"))
    if not sent and not made:
        return used
    offered = [text(tool.get("model")) for tool in answer.offered if tool.get("type") == IMAGE_MODEL]
    named = next((model for model in offered if model), "")
    prompt, drawn = inside(found, "input_tokens_details"), inside(found, "output_tokens_details")
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
        used,
        input_tokens=None if used.input_tokens is None else used.input_tokens + sent,
        output_tokens=None if used.output_tokens is None else used.output_tokens + made,
        cache_read_tokens=used.cache_read_tokens + part.cache_read_tokens,
        parts=(*used.parts, part),
        tools={name: calls for name, calls in used.tools.items() if name != IMAGE_MODEL},
        inexact=used.inexact if named else (*used.inexact, "image_model"),
        raw=f'{{"usage":{used.raw},"tool_usage":{{"image_gen":{msgspec.json.encode(found).decode()}}}}}',
    )
