"""Gemini's Live API (BidiGenerateContent), with one response at a time."""

from typing import Any

import msgspec

from services.gateway.parsing import strict_json
from services.gateway.request import named_models
from services.gateway.request.errors import Refusal
from services.gateway.request.model_places import fold
from services.gateway.request.named_models import Named, Unreadable
from services.gateway.websocket.protocol import NOTHING, ClientMessages, Event, Phase, Start, decode, string

TURN = "turn"  # the id of whatever response is open
_HARMLESS = frozenset({"clientcontent", "realtimeinput", "toolresponse"})
_AUDIO = b'{"realtimeInput":{"audio":{}}}'


class _Setup(msgspec.Struct):
    model: Any = None


class _Content(msgspec.Struct):
    complete: Any = msgspec.field(default=None, name="turnComplete")
    complete_too: Any = msgspec.field(default=None, name="turn_complete")


class _RealtimeInput(msgspec.Struct):
    text: Any = None


class _ClientMessage(msgspec.Struct):
    setup: _Setup | None = None
    content: _Content | None = msgspec.field(default=None, name="clientContent")
    content_too: _Content | None = msgspec.field(default=None, name="client_content")
    answers: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="toolResponse")
    answers_too: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="tool_response")
    realtime_input: _RealtimeInput | None = msgspec.field(default=None, name="realtimeInput")
    realtime_input_too: _RealtimeInput | None = msgspec.field(default=None, name="realtime_input")


class _ServerContent(msgspec.Struct):
    turn: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="modelTurn")
    transcript: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="outputTranscription")
    complete: Any = msgspec.field(default=None, name="turnComplete")


class _ServerMessage(msgspec.Struct):
    content: _ServerContent | None = msgspec.field(default=None, name="serverContent")
    calls: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="toolCall")
    usage: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="usageMetadata")


_client = msgspec.json.Decoder(_ClientMessage)
_server = msgspec.json.Decoder(_ServerMessage)


class LiveProtocol:
    """A conversation in turns.

    A turn ends with `turnComplete`, or with a tool call, once its usage is known: usage may come in a later message of
    its own.
    """

    errors_end_responses = False

    def __init__(self, model: str = "") -> None:
        self.model = model
        self._said = ClientMessages()
        self._has_audio = False
        self._is_counted = False  # usage of the open turn has come
        self._is_over = False  # the open turn is complete and waits for its usage

    def start(self, text: bytes) -> Start | None:
        """Read a client's message."""
        found = decode(_client, text)
        if found is None:
            return None
        realtime_input = found.realtime_input or found.realtime_input_too
        if realtime_input is not None and not isinstance(realtime_input.text, str):
            if not self._has_audio:
                self._has_audio = True
                self._said.add(_AUDIO)
            return None
        if found.setup is not None:
            self.model = string(found.setup.model).removeprefix("models/")
        content = found.content or found.content_too
        answers = found.answers or found.answers_too
        if found.setup or content or answers or realtime_input:
            self._said.add(text)
        asks = bool(answers) or (content is not None and (content.complete or content.complete_too) is True)
        return Start(self.model, text) if asks else None

    def read(self, text: bytes) -> Event:
        """Read a provider's message."""
        found = decode(_server, text)
        if found is None:
            return NOTHING
        content = found.content
        is_counted = bytes(found.usage)[:1] == b"{"
        says = bool(found.calls) or (content is not None and bool(content.turn or content.transcript))
        ends_earlier = self._is_over and says  # the next turn begins, and no usage of the one before has come
        if ends_earlier:
            self._is_over = self._is_counted = False
        if is_counted:
            self._is_counted = True
        if bool(found.calls) or (content is not None and content.complete is True):
            self._is_over = True
        if self._is_over and self._is_counted:
            self._is_over = self._is_counted = False
            return Event(Phase.ENDS, TURN, begins=says or is_counted, ends_earlier=ends_earlier)
        if not (says or is_counted or content is not None):
            return NOTHING
        return Event(Phase.PART, TURN, begins=says or is_counted, ends_earlier=ends_earlier)

    def named(self, text: bytes) -> Named:
        """Models that a client's message names."""
        members = strict_json.read(text)
        folded = [fold(name) for name in members]
        if folded.count("setup") > 1 or ("setup" in folded and "setup" not in members):
            raise Unreadable("it has a setup in several spellings")
        unknown = set(folded) - _HARMLESS - {"setup"}
        if unknown:
            raise Unreadable(f"the message {min(unknown)[:40]!r} is unknown")
        if "setup" not in members:
            return Named()
        return named_models.read(members["setup"], is_response=False, required=True)

    def error(self, refusal: Refusal, *, request_id: str, event_id: str) -> bytes:
        """This API has no error messages: it closes the connection with a reason."""
        return b""

    def prompt(self, start: Start | None) -> bytes:
        """What was said since the last turn; audio has no text."""
        return self._said.json()

    def answered(self) -> None:
        """A turn has ended with its usage."""
        self._said.clear()
        self._has_audio = False
