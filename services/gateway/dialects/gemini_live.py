"""Gemini's Live API: messages of a conversation over a WebSocket."""

import re
from collections.abc import Iterator

from services.gateway.dialects import message_text
from services.gateway.dialects.dialect import Dialect, Overhead, Texts
from services.gateway.dialects.gemini import part_texts
from services.gateway.dialects.json_objects import Object
from shared import events, providers


def _request_text(body: Object) -> Iterator[str]:
    """Texts of the client's messages, as `services.gateway.websocket.said` lists them."""
    for message in message_text.objects(body.get("messages")):
        setup = _either(message, "setup", "setup")
        yield from _texts(_either(setup, "systemInstruction", "system_instruction"))
        for tool in message_text.objects(setup.get("tools")):
            yield message_text.as_json(tool)
        content = _either(message, "clientContent", "client_content")
        for turn in message_text.objects(content.get("turns")):
            yield from _texts(turn)
        if answers := _either(message, "toolResponse", "tool_response"):
            yield message_text.as_json(answers)
        spoken = _either(message, "realtimeInput", "realtime_input")
        if spoken.keys() - {"text"}:
            raise message_text.NonText
        yield message_text.text(spoken.get("text"))


def _texts(content: Object) -> Iterator[str]:
    for _, text in part_texts(content):
        yield text


def _response_text(event: Object) -> Texts:
    content = _either(event, "serverContent", "server_content")
    if content.get("groundingMetadata") or content.get("urlContextMetadata"):
        raise message_text.NonText
    yield from part_texts(_either(content, "modelTurn", "model_turn"))
    if calls := _either(event, "toolCall", "tool_call"):
        yield message_text.CALL, message_text.as_json(calls)


def _either(parent: Object, name: str, other: str) -> Object:
    """An object by its name in JSON, or in protocol buffers: Google's servers accept both."""
    return message_text.as_object(parent.get(name) or parent.get(other))


DIALECT = Dialect(
    name=events.GEMINI_LIVE,
    api=providers.GEMINI_API,
    path=re.compile(r"\.BidiGenerateContent$"),
    usage_marks=(b'"usageMetadata"',),
    event_marks=(b"error", b'"turnComplete"'),
    usage_names=(
        *("promptTokenCount", "responseTokenCount", "thoughtsTokenCount", "toolUsePromptTokenCount"),
        *("cachedContentTokenCount", "totalTokenCount", "promptTokensDetails", "responseTokensDetails"),
        *("cacheTokensDetails", "toolUsePromptTokensDetails", "serviceTier", "trafficType"),
    ),
    overhead=Overhead(message=0, prompt=0, call=0, scale=1.05),
    request_text=_request_text,
    response_text=_response_text,
)
