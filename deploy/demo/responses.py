"""Responses in the providers' formats: recordings with other text and numbers."""

import functools
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec

from deploy.demo.calls import CUT_MIDWAY, ERROR_MIDWAY, OVERLOADED, REFUSALS, Reply
from deploy.demo.cast import CAST, CHAT, COUNT, GEMINI, IMAGES, RESPONSES, Endpoint
from deploy.local.plan import ROOT
from services.gateway.usage.tap import open_tap
from shared.events import Evidence
from shared.usage import Usage

RECORDINGS = ROOT / "tests" / "recordings"
EVENT_STREAM, JSON = "text/event-stream", "application/json"
_DONE = "[DONE]"
_TICKS = Decimal(10) ** 10  # xAI's cost ticks in a dollar
# Where the text of a response or of one of its events is.
_TEXTS: tuple[tuple[str | int, ...], ...] = (
    ("delta", "text"),
    ("delta",),
    ("content", 0, "text"),
    ("choices", 0, "delta", "content"),
    ("choices", 0, "message", "content"),
    ("candidates", 0, "content", "parts", 0, "text"),
)
_SEARCH = {"type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "harbour dues"}}
_WRAPPERS = ("message", "response")  # keys whose object has what other events have at the top

Object = dict[str, Any]
Event = Object | str  # a data line: JSON, or [DONE]
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def error(provider: str, result: str) -> tuple[int, bytes]:
    """(status, body) of a refusal."""
    status, body = CAST.errors[provider][result]
    return status, body.encode()


def document(endpoint: Endpoint, reply: Reply, *, model: str, text: str, name: str) -> bytes:
    """The JSON of a response. `name`: its id."""
    (event,) = _events(endpoint, reply, model=model, stream=False, pieces=(text,), name=name)
    return _encode(event)


def lines(endpoint: Endpoint, reply: Reply, *, model: str, pieces: Sequence[str], name: str) -> list[bytes]:
    """The events of a streamed response with its text in `pieces`, up to a cut."""
    events = _events(endpoint, reply, model=model, stream=True, pieces=pieces, name=name)
    if reply.result in (ERROR_MIDWAY, CUT_MIDWAY):
        events = events[: len(events) // 2]
    if reply.result == ERROR_MIDWAY:
        events.append(_decode(error(endpoint.provider, OVERLOADED)[1]))
    return [_line(endpoint, event) for event in events]


def evidence(endpoint: Endpoint, reply: Reply, *, model: str, stream: bool, name: str) -> Evidence:
    """The evidence that a gateway picks from the response, read by its own reader."""
    status, content_type = 200, EVENT_STREAM if stream else JSON
    if reply.result in REFUSALS:
        (status, body), content_type = error(endpoint.provider, reply.result), JSON
    elif stream:
        body = b"".join(lines(endpoint, reply, model=model, pieces=("", ""), name=name))
    else:
        body = document(endpoint, reply, model=model, text="", name=name)
    tap = open_tap(status, content_type, "", endpoint.dialect)
    tap.feed(body)
    picks, tools, truncated = tap.evidence()
    notes = {"quality": "medium", "size": "1024x1024"} if endpoint.style == IMAGES else {}
    return Evidence(picks, tools, truncated, notes)


def _line(endpoint: Endpoint, event: Event) -> bytes:
    """An event as it is sent: Gemini ends lines its own way, Anthropic and the Responses API name their events."""
    data = event.encode() if isinstance(event, str) else _encode(event)
    if endpoint.style == GEMINI:
        return b"data: %s\r\n\r\n" % data
    if endpoint.style == CHAT or isinstance(event, str) or "type" not in event:
        return b"data: %s\n\n" % data
    return b"event: %s\ndata: %s\n\n" % (str(event["type"]).encode(), data)


def _events(
    endpoint: Endpoint, reply: Reply, *, model: str, stream: bool, pieces: Sequence[str], name: str
) -> list[Event]:
    """The recording's events with the reply's text and numbers; a whole response is one event."""
    before, text, after = _recorded(endpoint.recording(stream=stream, function=reply.function))
    spoken = [text[0]] * (len(pieces) - 1) + [text[-1]] if text else []
    events: list[Event] = [_decode(event) for event in (*before, *spoken, *after)]
    for number, event in enumerate(events):
        if isinstance(event, str):
            continue
        said = number + 1 - len(before)
        if 0 < said <= len(spoken):
            holder, key = _text(event)
            holder[key] = pieces[said - 1]
        for place in _places(event):
            place.update({key: model for key in ("model", "modelVersion") if place.get(key)})
            place.update({key: name for key in ("id", "responseId") if place.get(key)})
        share = min(max(said, 0) / len(spoken), 1) if spoken else 1
        _fill(endpoint, event, reply.usage, share=share)
    return events


@functools.cache
def _recorded(file: str) -> tuple[list[bytes], list[bytes], list[bytes]]:
    """The events of a recording: those before its text, those of the text, and those after."""
    events = _read(file)
    raw = [_encode(event) for event in events]
    texts = [number for number, event in enumerate(events) if isinstance(event, dict) and _text(event)[0]]
    first, last = (texts[0], texts[-1] + 1) if texts else (len(events), len(events))
    return raw[:first], raw[first:last], raw[last:]


def _read(file: str) -> list[Event]:
    """The events of a stream, or the one document. Searches are left out of a stream: each reply has its own."""
    data = (RECORDINGS / file).read_text()
    if file.endswith(".json"):
        return [_decode(data)]
    lines = [line.removeprefix("data: ") for line in data.splitlines() if line.startswith("data: ")]
    lines = [line for line in lines if "web_search_call" not in line or '"response.completed"' in line]
    return [line if line == _DONE else _decode(line) for line in lines]


def _places(event: Object) -> list[Object]:
    """The objects that may hold an event's model, id and usage."""
    return [event, *(event[key] for key in _WRAPPERS if isinstance(event.get(key), dict))]


def _text(event: Object) -> tuple[Any, str]:
    """(object, key) of an event's text; (None, "") where there is none."""
    for path in _TEXTS:
        place: Any = event
        try:
            for key in path[:-1]:
                place = place[key]
            if isinstance(place[path[-1]], str) and place[path[-1]]:
                return place, str(path[-1])
        except (KeyError, IndexError, TypeError):
            continue
    return None, ""


@functools.cache
def _usage_shape(endpoint: Endpoint) -> Object:
    """A usage object with every field that the endpoint's recordings of usage have."""
    shape: Object = {}
    for file in endpoint.usage or (endpoint.whole,):
        for event in _read(file):
            for place in _places(event) if isinstance(event, dict) else ():
                shape = (place.get("usage") or place.get("usageMetadata") or {}) | shape
    shape.pop("iterations", None)
    return shape


def _fill(endpoint: Endpoint, event: Object, usage: Usage, *, share: float) -> None:
    """Write the numbers. `share`: of the output sent by this event."""
    if endpoint.style == COUNT:
        event["input_tokens"] = usage.input_tokens
    output = int((usage.output_tokens or 0) * share)
    every = endpoint.style == CHAT and endpoint.provider == "gemini"  # usage in each event, and no tier
    if every:
        event.pop("service_tier", None)
    for place in _places(event):
        for key in ("usage", "usageMetadata"):
            if isinstance(place.get(key), dict) or (every and key == "usage"):
                place[key] = _counted(_usage_shape(endpoint), _numbers(endpoint, usage, output=output))
        if endpoint.style == RESPONSES and place.get("output"):
            searches = [_SEARCH | {"id": f"ws_{number}"} for number in range(usage.tools.get("web_search", 0))]
            place["output"] = searches + [item for item in place["output"] if item["type"] != _SEARCH["type"]]
    for candidate in event.get("candidates", ()):
        if "finishReason" in candidate and (count := usage.tools.get("google_search")):
            candidate["groundingMetadata"] = {"webSearchQueries": [f"query {number}" for number in range(count)]}


def _counted(shape: Object, numbers: Object, parent: str = "") -> Object:
    """The shape with these numbers."""
    found: Object = {}
    for key, value in shape.items():
        if isinstance(value, dict):
            found[key] = _counted(value, numbers, key)
        elif isinstance(value, list):
            shares = {one["modality"]: _number(numbers, key, one["modality"]) for one in value}
            found[key] = [{"modality": name, "tokenCount": share} for name, share in shares.items() if share]
        else:
            found[key] = _number(numbers, parent, key) if isinstance(value, int | float) else value
    return found


def _number(numbers: Object, parent: str, key: str) -> Any:
    return numbers.get(CAST.usage_fields.get(f"{parent}.{key}") or CAST.usage_fields.get(key, ""), 0)


def _numbers(endpoint: Endpoint, usage: Usage, *, output: int) -> Object:
    """What usage fields can count: the fields of Usage, and how providers add them up."""
    prompt, charge = usage.input_tokens or 0, usage.provider_cost_usd
    written = usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
    thinking = usage.reasoning_tokens if output == usage.output_tokens else 0
    fields = {field.encode_name: getattr(usage, field.name) for field in msgspec.structs.fields(usage)}
    return fields | {
        "prompt": prompt,
        "prompt_text": prompt - usage.input_image_tokens,
        "input": prompt - (usage.cache_read_tokens + written if endpoint.provider == "anthropic" else 0),
        "output": output,
        "completion": output - (thinking if endpoint.provider in ("gemini", "grok") else 0),
        "visible": output - thinking,
        "thinking": thinking,
        "total": prompt + output,
        "cache_write": written,
        "searches": usage.tools.get("web_search", 0),
        "charge_ticks": None if charge is None else int(charge * _TICKS),
    }
