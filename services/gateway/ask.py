"""What a request's JSON body says that the gateway must know: model, stream, and what bears on the price."""

from typing import Any

import msgspec

_MAX_MODEL = 1024  # clipped to the row's size once credentials are cut out


class Ask(msgspec.Struct):
    """The few keys that are read, of any type: it is the provider that says what is wrong with a body."""

    model: Any = None
    stream: Any = None
    stream_options: msgspec.Raw = msgspec.Raw()
    service_tier: Any = None
    speed: Any = None
    inference_geo: Any = None
    quality: Any = None
    size: Any = None


_decoder = msgspec.json.Decoder(Ask)
_NOTES = ("service_tier", "speed", "inference_geo", "quality", "size")
NOTHING = Ask()


def read(body: bytes) -> Ask:
    """The body's keys; NOTHING when it is no JSON object."""
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return NOTHING


def model(ask: Ask) -> str:
    """The model asked for, clipped; "" when none is named."""
    if not isinstance(ask.model, str):
        return ""
    return ask.model[:_MAX_MODEL].encode("utf-8", "replace").decode()


def notes(ask: Ask) -> dict[str, str]:
    """What bears on the price, as text."""
    found = {}
    for name in _NOTES:
        value = getattr(ask, name)
        if value is not None and isinstance(value, str):
            found[name] = value[:64]
    return found


def form_model(head: bytes) -> str:
    """The `model` field in the first bytes of a multipart form; "" when it is not there."""
    marker = head.find(b'name="model"')
    if marker < 0:
        return ""
    start = head.find(b"\r\n\r\n", marker)
    end = head.find(b"\r\n", start + 4)
    if start < 0 or end < 0:
        return ""
    return head[start + 4 : end][:_MAX_MODEL].decode("utf-8", "replace")
