"""OpenAI's Responses API over a WebSocket."""

from collections import deque
from typing import Any

import msgspec

from services.gateway.parsing import strict_json
from services.gateway.request import client_info, errors, named_models
from services.gateway.request.errors import Refusal
from services.gateway.request.header_names import TURN_METADATA
from services.gateway.request.named_models import Named, Unreadable
from services.gateway.websocket.protocol import NOTHING, Event, Phase, Start, decode, string
from shared.providers import OPENAI_STYLE

_CREATE = "response.create"
_KNOWN = frozenset({_CREATE, "response.steer", "response.cancel"})
_ENDS = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})
_ERROR_STATUSES = range(400, 600)
_MAX_IDS = 64


class _Create(msgspec.Struct):
    type: Any = None
    model: Any = None
    event_id: Any = None
    previous_response_id: Any = None
    generate: Any = None
    client_metadata: msgspec.Raw = msgspec.Raw()


class _ClientMetadata(msgspec.Struct):
    turn: Any = msgspec.field(default=None, name=TURN_METADATA)


class _Error(msgspec.Struct):
    type: Any = None
    code: Any = None
    message: Any = None


class _Response(msgspec.Struct):
    id: Any = None
    error: Any = None


class _Event(msgspec.Struct):
    type: Any = None
    response: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()
    status: Any = None
    code: Any = None
    message: Any = None
    event_id: Any = None


_create = msgspec.json.Decoder(_Create)
_client_metadata = msgspec.json.Decoder(_ClientMetadata)
_event = msgspec.json.Decoder(_Event)
_response = msgspec.json.Decoder(_Response)
_error = msgspec.json.Decoder(_Error)
_string = msgspec.json.Decoder(str)


class ResponsesProtocol:
    """Each `response.create` is a whole request, as the HTTP API would get it."""

    errors_end_responses = True

    def __init__(self, model: str = "") -> None:
        self.model = model
        self._begun: deque[str] = deque(maxlen=_MAX_IDS)  # ids of the last responses that have begun
        self._current = ""  # id of the response that began last: most events do not name theirs

    def start(self, text: bytes) -> Start | None:
        """Read a client's message."""
        if b"create" not in text and b"\\" not in text:  # an escape may hide it
            return None
        found = decode(_create, text)
        if found is None or found.type != _CREATE:
            return None
        model = string(found.model)
        return Start(
            model,
            text,
            event_id=string(found.event_id),
            previous=string(found.previous_response_id),
            generates=found.generate is not False,
            turn=_turn(found.client_metadata),
        )

    def read(self, text: bytes) -> Event:
        """Read a provider's message."""
        found = decode(_event, text)
        if found is None or not isinstance(found.type, str):
            return NOTHING
        kind = found.type
        if kind == "response.created":
            self._current = _id(found)
            if self._current:
                self._begun.append(self._current)
            return Event(Phase.BEGINS, self._current)
        if kind in _ENDS:
            own = _id(found)
            name = own or self._current
            # One that had begun and is not open has ended before: with an error, which `response.failed` follows.
            return Event(Phase.ENDS, name, begins=own not in self._begun, failed=kind == "response.failed")
        if kind == "error":
            return _refused(found)
        return Event(Phase.PART, self._current)

    def named(self, text: bytes) -> Named:
        """Models that a client's message names."""
        kind = type_of(strict_json.read(text))
        if kind not in _KNOWN:
            raise Unreadable(f"the message type {kind[:40]!r} is unknown")
        return named_models.read(text, is_response=True, required=kind == _CREATE)

    def error(self, refusal: Refusal, *, request_id: str, event_id: str) -> bytes:
        """An error event, like the provider's own."""
        body = errors.body(
            OPENAI_STYLE,
            status=refusal.status,
            code=refusal.code,
            message=refusal.message,
            request_id=request_id,
        )
        fields: dict[str, Any] = {"type": "error", "status": refusal.status, **msgspec.json.decode(body)}
        headers = {"x-metrion-request-id": request_id}
        if refusal.retry_after:
            headers["retry-after"] = str(refusal.retry_after)
        return msgspec.json.encode({**fields, "headers": headers})

    def prompt(self, start: Start | None) -> bytes:
        """The request itself.

        None of it if nothing is generated: what that costs cannot be told from its text.
        """
        return start.body if start is not None and start.generates else b""

    def answered(self) -> None:
        """Nothing is kept between requests."""


def _turn(client_metadata: msgspec.Raw) -> str | None:
    """The turn that Codex states in each request; None if it states none."""
    found = decode(_client_metadata, bytes(client_metadata)) if client_metadata else None
    return client_info.read_turn(found.turn) if found is not None and isinstance(found.turn, str) else None


def type_of(members: dict[str, bytes]) -> str:
    """The `type` of a message, spelled once; Unreadable otherwise."""
    spellings = [name for name in members if name.casefold().strip() == "type"]
    value = decode(_string, members.get("type", b"null")) if spellings == ["type"] else None
    if value is None:
        raise Unreadable("the message has no type, or several")
    return value


def _id(found: _Event) -> str:
    response = decode(_response, bytes(found.response)) if found.response else None
    return string(response.id) if response is not None else ""


def _refused(found: _Event) -> Event:
    """An error event; older ones have its fields at the top level."""
    error = (decode(_error, bytes(found.error)) if found.error else None) or _Error(None, found.code, found.message)
    status = found.status if type(found.status) is int and found.status in _ERROR_STATUSES else 0
    return Event(
        Phase.ERROR,
        failed=True,
        error_type=string(error.code) or string(error.type) or "error",
        message=error.message[:4096] if isinstance(error.message, str) else "",
        status=status,
        event_id=string(found.event_id),
    )
