"""Responses in the providers' formats, made of recordings."""

import functools
import re
from string import Template
from typing import Any

import msgspec

from deploy.demo.calls import BROKEN_OFF, ERROR_MIDWAY, OVERLOADED, REFUSALS, Call
from deploy.demo.cast import CAST
from deploy.local.plan import ROOT
from shared.usage import Usage

RECORDINGS = ROOT / "tests" / "recordings"
EVENT_STREAM, JSON = "text/event-stream", "application/json"
_MOST_TEXTS = 40  # events with text in a stream
_FIELDS = msgspec.structs.fields(Usage)
_TICKS = 10**10  # xAI's cost ticks in a dollar
_EVENT = re.compile(r".+?(?:\r?\n){2}", re.DOTALL)
_DATA = re.compile(r"(?<=data: )\{.*\}")
_TEXT = re.compile(r'"text_delta"|output_text\.delta|"delta":\{"content":"[^"]|"parts":\[\{"text"')
_PLACEHOLDER = re.compile(r'"(\$usage|\$queries)"|"(\$searches)",')  # they stand for JSON, not for text
_NAMES = {"model": "$model", "modelVersion": "$model", "id": "$name", "responseId": "$name"}
_SEARCH = (
    '{"type":"web_search_call","id":"ws_%d","status":"completed","action":{"type":"search","query":"harbour dues"}},'
)


class Response(msgspec.Struct, frozen=True):
    """A response; its parts are the events of a stream, or the one body."""

    status: int
    content_type: str
    parts: list[bytes]


def respond(call: Call, *, most: int = _MOST_TEXTS) -> Response:
    """The response to a call, up to where it breaks off.

    `most`: events with text in a stream.
    """
    errors, tools = CAST.errors[call.endpoint.provider], call.usage.tools
    if call.result in REFUSALS:
        status, body = errors[call.result]
        return Response(status, JSON, [body.encode()])
    form, recordings = "stream" if call.stream else "whole", call.endpoint.recordings
    file = recordings[form + "_tools" if call.function and form + "_tools" in recordings else form]
    before, text, after = _recorded(file, gemini=call.endpoint.provider == "gemini")
    texts = max(2, min((call.usage.output_tokens or 0) // 8, most)) if text else 0
    events = [*before, *text[:1] * (texts - 1), *text[-1:], *after]
    values = {
        "model": call.model,
        "name": call.name,
        "searches": "".join(_SEARCH % number for number in range(tools.get("web_search", 0))),
        "queries": msgspec.json.encode([f"query {number}" for number in range(tools.get("google_search", 0))]).decode(),
    }
    parts = []
    for said, event in enumerate(events[: len(events) // 2] if call.result in BROKEN_OFF else events):
        if "$usage" in event:
            counts = _counts(call.usage, share=min(max(said + 1 - len(before), 0) / texts, 1) if texts else 1)
            values["usage"] = Template(call.endpoint.usage).substitute(counts)
        parts.append(Template(event).substitute(values).encode())
    if call.result == ERROR_MIDWAY:
        name = "event: error\n" if call.endpoint.provider == "anthropic" else ""
        parts.append(f"{name}data: {errors[OVERLOADED][1]}\n\n".encode())
    return Response(200, EVENT_STREAM if call.stream else JSON, parts)


@functools.cache
def _recorded(file: str, *, gemini: bool) -> tuple[list[str], list[str], list[str]]:
    """A recording's events before its text, with text, and after it; $names mark what is put in."""
    data = (RECORDINGS / file).read_bytes().decode()
    if file.endswith(".json"):
        return [_template(data, gemini=gemini)], [], []
    events = [
        _DATA.sub(lambda found: _template(found[0], gemini=gemini), event)
        for event in _EVENT.findall(data)
        if "web_search_call" not in event or "response.completed" in event  # a response has searches of its own
    ]
    texts = [number for number, event in enumerate(events) if _TEXT.search(event)] or [len(events)]
    return events[: texts[0]], events[texts[0] : texts[-1] + 1], events[texts[-1] + 1 :]


def _template(data: str, *, gemini: bool) -> str:
    """One recorded JSON object with $names in it."""
    event = msgspec.json.decode(data, type=dict[str, Any])
    if "input_tokens" in event:  # a count of tokens, without a response
        event["input_tokens"] = "$usage"
    if gemini:  # it has usage in each event, and no tier
        event.pop("service_tier", None)
    for place in [event, *(event[key] for key in ("message", "response") if isinstance(event.get(key), dict))]:
        place.update({key: value for key, value in _NAMES.items() if place.get(key)})
        place.update(
            {key: "$usage" for key in ("usage", "usageMetadata") if place.get(key) or (gemini and key in place)}
        )
        if place.get("output"):
            place["output"] = ["$searches", *(item for item in place["output"] if item["type"] != "web_search_call")]
    for candidate in event.get("candidates", ()):
        if "finishReason" in candidate:
            candidate["groundingMetadata"] = {"webSearchQueries": "$queries"}
    return _PLACEHOLDER.sub(r"\1\2", msgspec.json.encode(event).decode())


def _counts(usage: Usage, *, share: float) -> dict[str, Any]:
    """What a usage can have in it. `share`: of the output sent so far."""
    prompt, output = usage.input_tokens or 0, int((usage.output_tokens or 0) * share)
    written = usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
    thinking = usage.reasoning_tokens if share == 1 else 0
    return {field.encode_name: getattr(usage, field.name) for field in _FIELDS} | {
        "prompt": prompt,
        "prompt_text": prompt - usage.input_image_tokens,
        "input": prompt - usage.cache_read_tokens - written,  # Anthropic's: what no cache has to do with
        "cache_write": written,
        "output": output,
        "visible": output - thinking,
        "thinking": thinking,
        "total": prompt + output,
        "searches": usage.tools.get("web_search", 0),
        "charge_ticks": int((usage.provider_cost_usd or 0) * _TICKS),
    }
