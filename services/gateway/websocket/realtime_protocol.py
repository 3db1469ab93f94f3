"""OpenAI's Realtime API, which xAI also implements."""

from typing import Any

import msgspec

from services.gateway.parsing import strict_json
from services.gateway.request import errors, named_models
from services.gateway.request.errors import Refusal
from services.gateway.request.named_models import Named, Unreadable
from services.gateway.websocket.protocol import NOTHING, ClientMessages, Event, Phase, Start, decode, string
from services.gateway.websocket.responses_protocol import type_of
from shared.providers import OPENAI_STYLE

_CREATE = "response.create"
_SESSION_UPDATES = frozenset({"session.update", "transcription_session.update"})
_SESSIONS = frozenset(
    {"session.created", "session.updated", "transcription_session.created", "transcription_session.updated"}
)
_TRANSCRIBED = "conversation.item.input_audio_transcription.completed"
# Client events that name no model: what they may contain is the user's, or an id.
_HARMLESS = ("input_audio_buffer.", "output_audio_buffer.", "conversation.item.")
_AUDIO = b'{"type":"input_audio_buffer.append"}'
_MAX_MESSAGE = 4096
# The statuses that errors would have over HTTP: an error has none of its own here.
_STATUSES = {"invalid_request_error": 400, "rate_limit_error": 429, "rate_limit_exceeded": 429}


class _ClientEvent(msgspec.Struct):
    type: Any = None
    event_id: Any = None


class _Failure(msgspec.Struct):
    type: Any = None
    code: Any = None
    message: Any = None
    event_id: Any = None


class _StatusDetails(msgspec.Struct):
    error: _Failure | None = None


class _Response(msgspec.Struct):
    id: Any = None
    status: Any = None
    status_details: msgspec.Raw = msgspec.Raw()


class _ServerEvent(msgspec.Struct):
    type: Any = None
    response_id: Any = None
    response: msgspec.Raw = msgspec.Raw()
    session: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()
    usage: msgspec.Raw = msgspec.Raw()


class _Transcription(msgspec.Struct):
    model: Any = None


class _Input(msgspec.Struct):
    transcription: _Transcription | None = None


class _Audio(msgspec.Struct):
    input: _Input | None = None


class _Session(msgspec.Struct):
    model: Any = None
    audio: _Audio | None = None
    input_audio_transcription: _Transcription | None = None


_client = msgspec.json.Decoder(_ClientEvent)
_server = msgspec.json.Decoder(_ServerEvent)
_response = msgspec.json.Decoder(_Response)
_details = msgspec.json.Decoder(_StatusDetails)
_session = msgspec.json.Decoder(_Session)
_failure = msgspec.json.Decoder(_Failure)


class RealtimeProtocol:
    """A conversation.

    The provider begins responses by itself, too, once the user has stopped speaking.
    """

    errors_end_responses = False

    def __init__(self, model: str = "") -> None:
        self.model = model
        self._transcription_model = ""
        self._said = ClientMessages()
        self._has_audio = False

    def start(self, text: bytes) -> Start | None:
        """Read a client's message."""
        found = decode(_client, text)
        if found is None or not isinstance(found.type, str):
            return None
        if found.type.startswith("input_audio_buffer."):
            if not self._has_audio:
                self._has_audio = True
                self._said.add(_AUDIO)
            return None
        if found.type in (_CREATE, "conversation.item.create") or found.type in _SESSION_UPDATES:
            self._said.add(text)
        return Start(self.model, text, event_id=string(found.event_id)) if found.type == _CREATE else None

    def read(self, text: bytes) -> Event:
        """Read a provider's message."""
        found = decode(_server, text)
        if found is None or not isinstance(found.type, str):
            return NOTHING
        kind = found.type
        if kind == "response.created":
            response = decode(_response, bytes(found.response))
            return NOTHING if response is None else Event(Phase.BEGINS, string(response.id))
        if kind == "response.done":
            return _done(decode(_response, bytes(found.response)))
        if kind in _SESSIONS:
            self._configure(decode(_session, bytes(found.session)))
            return NOTHING
        if kind == "error":
            return _refused(decode(_failure, bytes(found.error)))
        if kind == _TRANSCRIBED and bytes(found.usage)[:1] == b"{":
            return Event(Phase.BILLED, model=self._transcription_model)
        return Event(Phase.PART, string(found.response_id)) if isinstance(found.response_id, str) else NOTHING

    def _configure(self, session: _Session | None) -> None:
        """Note the models of the session, as the provider confirms them."""
        if session is None:
            return
        self.model = string(session.model) or self.model
        configured = session.audio.input if session.audio is not None else None
        transcription = (configured.transcription if configured else None) or session.input_audio_transcription
        if transcription is not None:
            self._transcription_model = string(transcription.model)

    def named(self, text: bytes) -> Named:
        """Models that a client's message names."""
        members = strict_json.read(text)
        kind = type_of(members)
        if kind.startswith(_HARMLESS) or kind == "response.cancel":
            return Named()
        inner = "session" if kind in _SESSION_UPDATES else "response" if kind == _CREATE else ""
        if not inner:
            raise Unreadable(f"the message type {kind[:40]!r} is unknown")
        if members.keys() - {"type", "event_id", inner}:
            raise Unreadable("it has members that are unknown")
        if inner not in members:
            return Named()
        return named_models.read(members[inner], is_response=True, required=False)

    def error(self, refusal: Refusal, *, request_id: str, event_id: str) -> bytes:
        """An error event, like the provider's own."""
        body = errors.body(
            OPENAI_STYLE,
            status=refusal.status,
            code=refusal.code,
            message=refusal.message,
            request_id=request_id,
        )
        error = {**msgspec.json.decode(body)["error"], "event_id": event_id or None}
        return msgspec.json.encode({"type": "error", "event_id": f"event_{request_id}", "error": error})

    def prompt(self, start: Start | None) -> bytes:
        """What was said since the last response; audio has no text."""
        return self._said.json()

    def answered(self) -> None:
        """A response has ended with its usage."""
        self._said.clear()
        self._has_audio = False


def _done(response: _Response | None) -> Event:
    if response is None:
        return Event(Phase.ENDS, begins=True)
    event = Event(Phase.ENDS, string(response.id), begins=True, failed=response.status == "failed")
    details = decode(_details, bytes(response.status_details)) if event.failed and response.status_details else None
    error = details.error if details is not None else None
    if not event.failed:
        return event
    if error is None:
        return event._replace(error_type="response.failed")
    return event._replace(
        error_type=string(error.code) or string(error.type) or "response.failed",
        message=error.message[:_MAX_MESSAGE] if isinstance(error.message, str) else "",
    )


def _refused(error: _Failure | None) -> Event:
    if error is None:
        return Event(Phase.ERROR, failed=True, error_type="error", status=500)
    kind = string(error.type)
    return Event(
        Phase.ERROR,
        failed=True,
        error_type=string(error.code) or kind or "error",
        message=error.message[:_MAX_MESSAGE] if isinstance(error.message, str) else "",
        status=_STATUSES.get(kind, 500),
        event_id=string(error.event_id),
    )
