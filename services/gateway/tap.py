"""A tap on the answer's bytes: a bounded, decompressed copy is read for evidence while the client gets the original."""

from typing import Protocol

from services.gateway.evidence import collect, elements, pick, pick_clipped
from services.gateway.gap import Gap
from services.gateway.inflate import CORRUPT, Inflate, inflater
from services.gateway.skeleton import Skeleton
from services.gateway.sse_tap import MAX_COPY, SseTap
from services.gateway.tally import KINDS, Tally
from shared import contract

MAX_DOCUMENT = 8 << 20  # bytes of a JSON array, decompressed, that are kept whole; of a longer one the skeleton
MAX_OBJECT = 1 << 20  # the same of a JSON object: a stream's texts may have to be counted, those of an object never
_CLIP = 16 << 10


class Tap(Protocol):
    """`ended`: the dialect's terminal event went by. `failed`: an error event did. `usage`: an event with usage did.

    `gap`: what was not read of it and why, where `evidence` says that something is missing.
    """

    ended: bool
    failed: bool
    gap: Gap | None

    @property
    def usage(self) -> bool: ...

    def feed(self, data: bytes) -> None: ...

    def evidence(self) -> tuple[tuple[bytes, ...], dict[str, int], bool]: ...

    def text(self, limit: int) -> bytes:
        """The answer's first bytes, decompressed, for an error that is no JSON."""
        ...

    def events(self) -> tuple[list[bytes], float] | None:
        """(JSON of a stream's events, how many times as much there was) as far as kept; None when it is no stream."""
        ...


def is_event_stream(content_type: str) -> bool:
    """Whether an answer of this Content-Type comes as server-sent events."""
    return content_type.partition(";")[0].strip().lower() == "text/event-stream"


def open_tap(
    status: int, content_type: str, encoding: str, dialect: str, *, copy: bool = False, framed: bool = False
) -> Tap:
    """The tap for an answer, told by its status and headers. An error is kept whatever its type.

    `copy`: of a stream the first bytes are kept, so that its tokens can be counted if nobody says how many they were.
    `framed`: HTTP says where the answer ends.
    """
    kind = content_type.partition(";")[0].strip().lower()
    try:
        inflate = inflater(encoding)
    except LookupError:
        return Unread(contract.UNREAD_ENCODING) if _is_readable(kind, status) else Blind()
    if kind == "text/event-stream" and status < 400:
        return SseTap(dialect, inflate, copy=MAX_COPY if copy else 0, framed=framed)
    if kind in KINDS and status < 400:
        return Tally(inflate)
    return Document(inflate) if _is_readable(kind, status) else Blind()


def _is_readable(kind: str, status: int) -> bool:
    """Whether an answer of this media type may say something about money, or about an error."""
    if status >= 400 or kind in ("application/json", "text/event-stream") or kind in KINDS:
        return True
    return kind.endswith("+json")


class Blind:
    """For answers that say nothing about money: audio, files, plain text."""

    ended = failed = usage = False
    gap: Gap | None = None

    def feed(self, data: bytes) -> None:
        pass

    def evidence(self) -> tuple[tuple[bytes, ...], dict[str, int], bool]:
        return (), {}, False

    def text(self, limit: int) -> bytes:
        return b""

    def events(self) -> tuple[list[bytes], float] | None:
        return None


class Unread(Blind):
    """For answers that may say something about money and cannot be read."""

    def __init__(self, reason: str) -> None:
        self.gap = Gap(contract.GAPS_ALL, reason)

    def evidence(self) -> tuple[tuple[bytes, ...], dict[str, int], bool]:
        return (), {}, True


class Document:
    """A JSON answer: kept until its end, then picked. An array (one way Gemini streams) is read like lines."""

    ended = failed = False
    gap: Gap | None = None
    usage = False  # whether an array's element with usage came

    def __init__(self, inflate: Inflate | None) -> None:
        self._inflate, self._parts, self._size = inflate, list[bytes](), 0
        self._skeleton: Skeleton | None = None  # of a document too long to be kept whole
        self._broken = False

    def feed(self, data: bytes) -> None:
        if self._inflate and not self._broken:
            try:
                data = self._inflate(data)
            except CORRUPT:
                self._broken = True
        if self._broken:
            return
        self._size += len(data)
        if self._skeleton is None and (self._size <= MAX_OBJECT or self._is_short_array()):
            self._parts.append(data)
            return
        if self._skeleton is None:
            self._skeleton = Skeleton()
            for part in self._parts:
                self._skeleton.feed(part)
            self._parts = [b"".join(self._parts)[:_CLIP]]
        self._skeleton.feed(data)

    def _is_short_array(self) -> bool:
        return self._size <= MAX_DOCUMENT and b"".join(self._parts[:2]).lstrip()[:1] == b"["

    def text(self, limit: int) -> bytes:
        return b"".join(self._parts)[:limit]

    def events(self) -> tuple[list[bytes], float] | None:
        if self._skeleton is not None:
            return None  # its texts are not there any more
        document = b"".join(self._parts)
        return (elements(document), 1.0) if document.lstrip()[:1] == b"[" else None

    def evidence(self) -> tuple[tuple[bytes, ...], dict[str, int], bool]:
        document = b"".join(self._parts) if self._skeleton is None else self._skeleton.json()
        if self._skeleton is not None and self._skeleton.full:
            return collect([pick_clipped(document[:_CLIP], self._skeleton.tail)], truncated=True)
        if document.lstrip()[:1] == b"[":
            picked = [one for element in elements(document) if (one := pick(element))]
            with_usage = [one for one in picked if one.usage][-1:]
            self.usage, self.failed = bool(with_usage), any(one.error for one in picked)
            return collect([*picked[:1], *(one for one in picked[1:] if one.error), *with_usage], truncated=False)
        return collect([pick(document)], truncated=self._broken)
