"""Taps: they read a bounded copy of a response while the client gets it."""

from functools import lru_cache
from typing import Protocol

from services.gateway.parsing.decompress import Decompressor, inflater
from services.gateway.usage.batch_results import KINDS, BatchTap
from services.gateway.usage.gap import Gap
from services.gateway.usage.json_tap import JsonTap
from services.gateway.usage.sse_tap import MAX_COPY, SseTap
from shared.events import GAPS_ALL, UNREAD_ENCODING


class Tap(Protocol):
    """Reads a response for evidence.

    `ended`: the dialect's terminal event has passed. `failed`: an event with an error has. `gap`: what was not read
    and why, where `evidence` says that something is missing.
    """

    ended: bool
    failed: bool

    @property
    def usage(self) -> bool:
        """Whether an event with usage has passed."""
        ...

    @property
    def gap(self) -> Gap | None:
        """What was not read."""
        ...

    def feed(self, data: bytes) -> None:
        """Read bytes of the response as they pass."""
        ...

    def evidence(self) -> tuple[tuple[bytes, ...], dict[str, int], bool]:
        """(Picks in order, tool calls by name, whether something is missing)."""
        ...

    def text(self, limit: int) -> bytes:
        """The response's first bytes, decompressed, for an error that is not JSON."""
        ...

    def events(self) -> tuple[list[bytes], float] | None:
        """(JSON of a stream's events, how many times as much there was), as far as kept.

        None when it is no stream.
        """
        ...


EVENT_STREAM = "text/event-stream"
_JSON = "application/json"
# Media types that compatible servers give their JSON.
_MISNAMED = frozenset({"", "text/plain", "text/json", "text/x-json", "application/x-json"})


@lru_cache(maxsize=64)
def media_type(content_type: str) -> str:
    """The media type of a Content-Type in lower case, without its parameters."""
    return content_type.partition(";")[0].strip().lower()


def is_event_stream(content_type: str) -> bool:
    """Whether a response of this Content-Type comes as server-sent events."""
    return media_type(content_type) == EVENT_STREAM


def open_tap(
    status: int,
    content_type: str,
    encoding: str,
    dialect: str,
    *,
    inflate: Decompressor | None = None,
    copy: bool = False,
    framed: bool = False,
) -> Tap:
    """The tap for a response, by its status and headers.

    An error is kept whatever its type. `inflate`: undoes the encoding, if that has begun already. `copy`: keep the
    first bytes of a stream, so that its tokens can be counted if nobody states how many there were. `framed`: HTTP says
    where the response ends.
    """
    kind = media_type(content_type)
    try:
        inflate = inflate or (inflater(encoding) if encoding else None)
    except LookupError:
        return Unread(UNREAD_ENCODING) if _is_readable(kind, status) else NullTap()
    if kind == EVENT_STREAM and status < 400:
        return SseTap(dialect, inflate, copy=MAX_COPY if copy else 0, framed=framed)
    if kind in KINDS and status < 400:
        return BatchTap(inflate)
    if kind == _JSON or _is_readable(kind, status):
        return JsonTap(inflate, framed=framed)
    return JsonTap(inflate, only_objects=True, framed=framed) if kind in _MISNAMED else NullTap()


def _is_readable(kind: str, status: int) -> bool:
    """Whether a response of this media type may say something about money, or about an error."""
    if status >= 400 or kind in (_JSON, EVENT_STREAM) or kind in KINDS:
        return True
    return kind.endswith("+json")


class NullTap:
    """For responses that say nothing about money: audio, files, plain text."""

    ended = failed = usage = False
    gap: Gap | None = None

    def feed(self, data: bytes) -> None:
        """Skip these bytes."""

    def evidence(self) -> tuple[tuple[bytes, ...], dict[str, int], bool]:
        """No evidence, and none missing."""
        return (), {}, False

    def text(self, limit: int) -> bytes:
        """No text."""
        return b""

    def events(self) -> tuple[list[bytes], float] | None:
        """None, because this is not a stream."""
        return None


class Unread(NullTap):
    """For responses that may say something about money and cannot be read."""

    def __init__(self, reason: str) -> None:
        self.gap = Gap(GAPS_ALL, reason)

    def evidence(self) -> tuple[tuple[bytes, ...], dict[str, int], bool]:
        """No evidence, and all of it missing."""
        return (), {}, True
