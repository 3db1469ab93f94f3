"""Anthropic's API; a Messages response can be converted between two formats."""

from collections.abc import Iterator

from services.gateway.dialects import json_objects, message_text
from services.gateway.dialects.dialect import Conversion, Dialect, Overhead, Texts, Variant
from services.gateway.dialects.json_objects import Object, Unconvertible
from services.gateway.parsing import sse
from shared import events, providers

_ENDS = frozenset({"end_turn", "stop_sequence", "tool_use"})

# Said only when a stream ends: of the message by message_delta's `delta` and beside it, of its usage by `usage`.
_ENDING = ("stop_reason", "stop_sequence", "stop_details", "container")
_BESIDE = ("context_management",)
_GROWING = ("output_tokens_details", "server_tool_use", "iterations", "fallback_credit")
_KNOWN_AT_START = ("cache_creation", "service_tier", "inference_geo", "speed")

# Blocks that come whole with their start; results of server tools do too.
_WHOLE = frozenset({"redacted_thinking", "container_upload", "fallback"})
_WHOLE_ENDINGS = ("_tool_result",)
_CALL_ENDING = "tool_use"  # tool_use, server_tool_use, mcp_tool_use: their input comes as fragments of JSON

# Type of a delta → type of the blocks that take it.
_TAKERS = {
    "text_delta": "text",
    "citations_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "thinking",
    "input_json_delta": _CALL_ENDING,
}


def is_finished(message: Object) -> bool:
    """Whether the model finished by itself."""
    return message.get("type") == "message" and message.get("stop_reason") in _ENDS


def is_stream_finished(datas: list[bytes]) -> bool:
    """Whether a stream ends with message_stop after the model finished by itself."""
    chunks = [json_objects.decode(data) for data in datas]
    reasons = [
        json_objects.inside(one, "delta").get("stop_reason") for one in chunks if one.get("type") == "message_delta"
    ]
    started, stopped = chunks[0].get("type") == "message_start", chunks[-1].get("type") == "message_stop"
    return started and stopped and bool(reasons) and reasons[-1] in _ENDS and not any(map(json_objects.failed, chunks))


def to_stream(_: bytes, message: Object, __: Variant) -> bytes:
    """The events of a message: each text, thinking and tool input in one delta."""
    usage = json_objects.inside(message, "usage")
    started = {name: value for name, value in usage.items() if name not in _GROWING}
    if isinstance(output := usage.get("output_tokens"), int):
        started["output_tokens"] = min(output, 1)
    start = {name: value for name, value in message.items() if name not in _BESIDE} | {"content": [], "usage": started}
    start |= dict.fromkeys((name for name in _ENDING if name in message), None)
    end: Object = {
        "delta": {name: message[name] for name in _ENDING if name in message},
        "usage": {name: value for name, value in usage.items() if name not in _KNOWN_AT_START},
    }
    events: list[Object] = [{"type": "message_start", "message": start}]
    for index, block in enumerate(json_objects.objects(message, "content")):
        opening, deltas = _block_deltas(block)
        events.append({"type": "content_block_start", "index": index, "content_block": opening})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    beside = {name: message[name] for name in _BESIDE if name in message}
    events += [{"type": "message_delta", **end, **beside}, {"type": "message_stop"}]
    return sse.written((event["type"], json_objects.encode(event)) for event in events)


def _block_deltas(block: Object) -> tuple[Object, list[Object]]:
    """A block as its start and the deltas that fill it."""
    kind = json_objects.text(block.get("type"))
    if kind in _WHOLE or kind.endswith(_WHOLE_ENDINGS):
        return block, []
    if kind == "text":
        deltas: list[Object] = [{"type": "text_delta", "text": json_objects.text(block.get("text"))}]
        citations = json_objects.objects(block, "citations")
        deltas += [{"type": "citations_delta", "citation": one} for one in citations]
        return block | {"text": ""} | ({"citations": []} if citations else {}), deltas
    if kind == "thinking":
        signature = json_objects.text(block.get("signature", ""))
        deltas = [{"type": "thinking_delta", "thinking": json_objects.text(block.get("thinking"))}]
        deltas += [{"type": "signature_delta", "signature": signature}] if signature else []
        return block | {"thinking": ""} | ({"signature": ""} if "signature" in block else {}), deltas
    if kind.endswith(_CALL_ENDING):
        given = json_objects.inside(block, "input")
        fragment = json_objects.encode(given).decode() if given else ""
        return block | {"input": {}}, [{"type": "input_json_delta", "partial_json": fragment}]
    raise Unconvertible(f"how a block {kind} is streamed is unknown")


def to_document(datas: list[bytes], _: Variant) -> bytes:
    """The message that a stream's events build.

    Of usage, later counts overwrite earlier ones field by field.
    """
    message: Object = {}
    content: list[Object] = []
    usage: Object = {}
    fragments: list[str] | None = None  # of an open block's input; None while no block is open
    stopped = False
    for data in datas:
        event = json_objects.decode(data)
        kind = event.get("type")
        if kind == "ping":
            continue
        if (kind == "message_start") == bool(message) or stopped:
            raise Unconvertible(f"{kind} in the wrong place")
        if kind == "message_start":
            message = json_objects.inside(event, "message")
            usage = dict(json_objects.inside(message, "usage"))
        elif kind == "content_block_start" and fragments is None and event.get("index") == len(content):
            content.append(dict(json_objects.inside(event, "content_block")))
            fragments = []
        elif kind == "content_block_delta" and fragments is not None and event.get("index") == len(content) - 1:
            _grow(content[-1], json_objects.inside(event, "delta"), fragments)
        elif kind == "content_block_stop" and fragments is not None and event.get("index") == len(content) - 1:
            if joined := "".join(fragments):
                content[-1]["input"] = json_objects.decode(joined.encode())
            fragments = None
        elif kind == "message_delta" and fragments is None:
            beside = {name: value for name, value in event.items() if name not in ("type", "delta", "usage")}
            _overwrite(message, json_objects.inside(event, "delta") | beside)
            _overwrite(usage, json_objects.inside(event, "usage"))
        elif kind == "message_stop" and fragments is None:
            stopped = True
        else:
            raise Unconvertible(f"what {kind} means here is unknown")
    if not stopped:
        raise Unconvertible("the stream is incomplete")
    return json_objects.encode(message | {"content": content, "usage": usage})


def _grow(block: Object, delta: Object, fragments: list[str]) -> None:
    """Put a delta into its block, a fragment of its input into `fragments`."""
    kind, taker = json_objects.text(delta.get("type")), json_objects.text(block.get("type"))
    if taker.endswith(_CALL_ENDING):
        taker = _CALL_ENDING
    if _TAKERS.get(kind) != taker:
        raise Unconvertible(f"a delta {kind} in a block {taker}")
    if kind == "input_json_delta":
        fragments.append(json_objects.text(delta.get("partial_json")))
    elif kind == "citations_delta":
        block["citations"] = [*json_objects.objects(block, "citations"), json_objects.inside(delta, "citation")]
    elif kind == "signature_delta":
        block["signature"] = json_objects.text(delta.get("signature"))
    else:
        block[taker] = json_objects.text(block.get(taker)) + json_objects.text(delta.get(taker))


def _overwrite(known: Object, values: Object) -> None:
    """Overwrite known values; a null leaves the earlier one in place."""
    known |= {name: value for name, value in values.items() if value is not None or name not in known}


def _request_text(body: Object) -> Iterator[str]:
    yield from message_text.content(body.get("system"))
    for message in message_text.objects(body.get("messages")):
        yield message_text.text(message.get("role"))
        yield from message_text.content(message.get("content"))
    for tool in message_text.objects(body.get("tools")):
        yield message_text.as_json(tool)


def _response_text(event: Object) -> Texts:
    block, delta = message_text.as_object(event.get("content_block")), message_text.as_object(event.get("delta"))
    place = str(event.get("index"))
    if block and block.get("type") not in ("text", "thinking", "redacted_thinking", "tool_use"):
        raise message_text.NonText
    for text in (*message_text.strings(block, "text", "thinking"), *message_text.strings(delta, "text", "thinking")):
        yield place, text
    for text in (*message_text.strings(block, "name"), *message_text.strings(delta, "partial_json")):
        yield message_text.CALL + place, text


DIALECT = Dialect(
    name=events.ANTHROPIC,
    api=providers.ANTHROPIC_API,
    terminal_types=frozenset({"message_stop"}),
    has_end=True,
    may_omit_end=True,
    usage_marks=(b'"usage"',),
    event_marks=(b"error", b"message_stop"),
    usage_names=(
        *("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "cache_creation"),
        *("server_tool_use", "iterations", "output_tokens_details", "fallback_credit"),
        *("service_tier", "inference_geo", "speed"),
    ),
    overhead=Overhead(message=3, prompt=3, call=40, scale=1.13),
    request_text=_request_text,
    response_text=_response_text,
    output_maxima=("max_tokens",),
    ignored_parameters=frozenset(
        {"stream", "max_tokens", "max_tokens_to_sample", "temperature", "top_p", "top_k", "metadata", "service_tier"}
    ),
    conversion=Conversion(
        endpoints=("/messages",),
        is_finished=is_finished,
        is_stream_finished=is_stream_finished,
        to_stream=to_stream,
        to_document=to_document,
    ),
    limit_header="anthropic-ratelimit-{measure}-{part}",
    limit_reset_is_time=True,
)
