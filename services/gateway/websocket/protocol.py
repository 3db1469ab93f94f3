"""What the tap needs to know about a WebSocket API: when responses begin and end."""

import enum
from typing import NamedTuple, Protocol, TypeVar

import msgspec

from services.gateway.parsing import lenient_json
from services.gateway.request.errors import Refusal
from services.gateway.request.named_models import Named

T = TypeVar("T")

MAX_ID = 256  # characters of a response's id that are kept
_MAX_SAID = 256 << 10  # bytes of a client's messages that are kept for counting tokens


class Start(NamedTuple):
    """A response that a client asks for."""

    model: str
    body: bytes  # its parameters as JSON, as far as a client's message states them
    event_id: str = ""  # the client's own name of its message
    previous: str = ""  # id of the response that it continues
    generates: bool = True  # else it only prepares a later one
    turn: str | None = None  # the client's id of the user's turn; None if it does not tell


NO_START = Start("", b"")  # nobody asked for the response


class Phase(enum.Enum):
    """What a provider's message means for a response."""

    NOTHING = enum.auto()
    BEGINS = enum.auto()
    PART = enum.auto()
    ENDS = enum.auto()
    ERROR = enum.auto()  # a request was refused
    BILLED = enum.auto()  # usage of its own, such as a transcription's


class Event(NamedTuple):
    """What a provider's message says about a response."""

    phase: Phase
    id: str = ""  # of the response
    begins: bool = False  # a response that is not open yet begins with this PART or end
    ends_earlier: bool = False  # the response that is open had ended before this message
    model: str = ""  # of a BILLED message
    failed: bool = False
    error_type: str = ""
    message: str = ""
    status: int = 0  # of an error, as in HTTP; 0: not stated
    event_id: str = ""  # of the client's message that caused an error


NOTHING = Event(Phase.NOTHING)


class WireProtocol(Protocol):
    """One API over WebSockets, with its state on one connection.

    `model`: the one that responses of this connection use, "" while unknown. No method raises because of what is in a
    message, except `named`.
    """

    model: str
    errors_end_responses: bool  # an error that belongs to no waiting request ends the response in progress

    def start(self, text: bytes) -> Start | None:
        """Read a client's message; returns the response that it asks for, if it does."""
        ...

    def read(self, text: bytes) -> Event:
        """Read a provider's message."""
        ...

    def named(self, text: bytes) -> Named:
        """Models that a client's message names.

        Unreadable or Ambiguous if parsers may disagree about it.
        """
        ...

    def error(self, refusal: Refusal, *, request_id: str, event_id: str) -> bytes:
        """A message that tells the client of a refusal.

        b"" if this API has none, so the connection is closed.
        """
        ...

    def prompt(self, start: Start | None) -> bytes:
        """What was said to the model since its last response, for counting tokens.

        A JSON object; b"" if unknown.
        """
        ...

    def answered(self) -> None:
        """A response has ended with its usage, which includes what was said until now."""
        ...


class ClientMessages:
    """A client's messages since the last response, within bounds."""

    def __init__(self) -> None:
        self._messages: list[bytes] = []
        self._size = 0

    def add(self, message: bytes) -> None:
        """Keep a message."""
        self._size += len(message)
        if self._size > _MAX_SAID:
            self._messages = []
        else:
            self._messages.append(message)

    def clear(self) -> None:
        """Forget all messages."""
        self._messages = []
        self._size = 0

    def json(self) -> bytes:
        """All messages, as `request_text` reads them; b"" if there were too many."""
        return b"" if self._size > _MAX_SAID else b'{"messages":[%s]}' % b",".join(self._messages)


def decode(decoder: "msgspec.json.Decoder[T]", text: bytes) -> T | None:
    """Decode a message leniently, as over HTTP; None if it is not of this form."""
    return lenient_json.decode(text, decoder)


def string(value: object) -> str:
    """A short string; "" for anything else."""
    return value[:MAX_ID].encode("utf-8", "replace").decode() if isinstance(value, str) else ""
