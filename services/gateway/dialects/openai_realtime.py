"""OpenAI's Realtime API: events of a conversation over a WebSocket."""

import re
from collections.abc import Iterator

from services.gateway.dialects import message_text
from services.gateway.dialects.dialect import Dialect, Overhead, Texts
from services.gateway.dialects.json_objects import Object
from shared import events, providers

_AUDIO = "input_audio_buffer."


def _request_text(body: Object) -> Iterator[str]:
    """Texts of the client's events, as `services.gateway.websocket.said` lists them."""
    for event in message_text.objects(body.get("messages")):
        kind = message_text.text(event.get("type"))
        if kind.startswith(_AUDIO):
            raise message_text.NonText
        if kind == "conversation.item.create":
            yield from _item(message_text.as_object(event.get("item")))
            continue
        for name in ("session", "response"):
            settings = message_text.as_object(event.get(name))
            if settings.get("prompt"):
                raise message_text.NonText
            yield from message_text.content(settings.get("instructions"))
            yield from message_text.tools(settings.get("tools"))
            for item in message_text.objects(settings.get("input")):
                yield from _item(item)


def _item(item: Object) -> Iterator[str]:
    yield from message_text.content(item.get("content"))
    yield from message_text.strings(item, "role", "name", "arguments", "output")


def _response_text(event: Object) -> Texts:
    kind = message_text.text(event.get("type"))
    if not kind.endswith(".delta"):
        return
    if "audio" in kind and "transcript" not in kind:
        raise message_text.NonText
    place = f"{event.get('output_index')}{kind}"
    yield (message_text.CALL + place if "arguments" in kind else place), message_text.text(event.get("delta"))


DIALECT = Dialect(
    name=events.OPENAI_REALTIME,
    api=providers.OPENAI_API,
    path=re.compile(r"/realtime$"),
    terminal_types=frozenset({"response.done"}),
    has_end=True,
    event_marks=(b"response.done", b"error"),
    usage_names=(
        *("input_tokens", "output_tokens", "total_tokens", "input_token_details", "output_token_details"),
        *("cost_in_usd_ticks", "type", "seconds"),
    ),
    overhead=Overhead(message=3, prompt=3, call=8),
    request_text=_request_text,
    response_text=_response_text,
)
