"""A tap on the answer's bytes: a bounded, decompressed copy is read for evidence while the client gets the original."""

from typing import Protocol

from services.gateway.evidence import Picked, collect, elements, pick, pick_clipped
from services.gateway.gap import Gap
from services.gateway.inflate import CORRUPT, Inflate, inflater
from services.gateway.skeleton import Skeleton
from services.gateway.tally import KINDS, Tally
from shared import contract

MAX_DOCUMENT = 8 << 20  # bytes of a JSON array, decompressed, that are kept whole; of a longer one the skeleton
MAX_OBJECT = 1 << 20  # the same of a JSON object: a stream's texts may have to be counted, those of an object never
MAX_COPY = 64 << 10  # bytes of a stream, decompressed, that are kept in case its usage has to be estimated
MAX_LINE = 1 << 20  # bytes of one line of a stream that are kept whole; of a longer one the skeleton
_CLIP = 16 << 10
_MAX_ERROR_LINES = 4

# A line of a stream is looked at when it holds one of these; whether it means it is told by decoding it.
_MARKS: dict[str, tuple[bytes, ...]] = {
    contract.ANTHROPIC: (b'"usage"', b'"error"', b"message_stop"),
    contract.OPENAI_CHAT: (b'"usage":{', b'"usage": {', b'"error"', b"[DONE]"),
    contract.OPENAI_RESPONSES: (b"response.completed", b"response.incomplete", b"response.failed", b'"error"'),
    contract.OPENAI_OTHER: (b'"usage":{', b'"usage": {', b'"error"', b"[DONE]"),
    contract.GEMINI: (
        *(b'"usageMetadata"', b'"error"', b'"usage":{', b'"usage": {'),
        *(b'"finishReason"', b'"blockReason"'),
    ),
}
_TERMINAL_TYPES = frozenset({"message_stop", "response.completed", "response.incomplete", "response.failed"})
# Dialects with an event that is a stream's last one.
SAYS_END = frozenset({contract.ANTHROPIC, contract.OPENAI_CHAT, contract.OPENAI_RESPONSES})


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


def open_tap(status: int, content_type: str, encoding: str, dialect: str, *, copy: bool = False) -> Tap:
    """The tap for an answer, told by its status and headers. An error is kept whatever its type.

    `copy`: of a stream the first bytes are kept, so that its tokens can be counted if nobody says how many they were.
    """
    kind = content_type.partition(";")[0].strip().lower()
    try:
        inflate = inflater(encoding)
    except LookupError:
        return Unread(contract.UNREAD_ENCODING) if _is_readable(kind, status) else Blind()
    if kind == "text/event-stream" and status < 400:
        return Lines(dialect, inflate, copy=MAX_COPY if copy else 0)
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


class Lines:
    """A stream of events: the first data line, each error line, the first and the last line with usage are picked."""

    gap: Gap | None = None

    def __init__(self, dialect: str, inflate: Inflate | None, *, copy: int = 0) -> None:
        self.ended = self.failed = False
        self._copy, self._limit, self._room = list[bytes](), copy, copy
        self._marks, self._inflate, self._says_end = _MARKS[dialect], inflate, dialect in SAYS_END
        self._answering = self._finished = False  # Gemini's: more may come after what finishes an answer
        self._rest, self._length, self._clipped = list[bytes](), 0, False
        self._skeleton: Skeleton | None = None  # of an unfinished line that is too long to be kept whole
        self._first: Picked | None = None
        self._opening: Picked | None = None
        self._closing: Picked | None = None
        self._errors: list[Picked] = []
        self._tools: dict[str, int] = {}
        self._truncated = False

    def feed(self, data: bytes) -> None:
        if self._inflate:
            try:
                data = self._inflate(data)
            except CORRUPT:
                self._inflate, self._truncated = _nothing, True
        if (room := self._room) > 0:  # by reference: nothing is copied unless it is needed
            self._copy.append(data if len(data) <= room else data[:room])
        self._room = room - len(data)
        if self._rest or self._skeleton is not None or not data.endswith(b"\n"):
            data = self._whole_lines(data)
            if not data:
                return
        while self._first is None:
            line, _, data = data.partition(b"\n")
            self._line(line)
            if not data:
                return
        for start in self._marked(data):
            self._line(data[start:].partition(b"\n")[0])

    @property
    def usage(self) -> bool:
        """Whether a line with usage went by."""
        return self._closing is not None

    def events(self) -> tuple[list[bytes], float] | None:
        copy, seen = b"".join(self._copy), self._limit - self._room
        lines = copy.split(b"\n")
        if len(copy) < seen:
            lines.pop()  # cut in its middle
        found = [line[5:].strip() for line in lines if line.startswith(b"data:")]
        return found, max(seen / len(copy), 1.0) if copy else 1.0

    def _marked(self, data: bytes) -> list[int]:
        """Where the lines start that hold a mark: found in the whole block, for most lines hold none."""
        starts: set[int] = set()
        for mark in self._marks:
            at = data.find(mark)
            while at >= 0:
                starts.add(data.rfind(b"\n", 0, at) + 1)
                at = data.find(mark, data.find(b"\n", at))
        return sorted(starts)

    def _whole_lines(self, data: bytes) -> bytes:
        """What was held back and the lines that `data` ends; the unfinished last one is held back."""
        if self._skeleton is not None:
            data = self._long_line(self._skeleton, data)
        cut = data.rfind(b"\n") + 1
        block = b"".join((*self._rest, data[:cut])) if cut else b""
        if cut:
            self._rest, self._length = [], 0
        if cut < len(data):
            self._hold(data[cut:])
        return block

    def _hold(self, data: bytes) -> None:
        """Keep an unfinished line; of one that grows too long only its skeleton."""
        self._rest.append(data)
        self._length += len(data)
        if self._length > MAX_LINE:
            self._skeleton = Skeleton(limit=2 * MAX_LINE)
            for part in self._rest:
                self._skeleton.feed(part)
            self._rest = []

    def _long_line(self, skeleton: Skeleton, data: bytes) -> bytes:
        """Go on with a line of which only the skeleton is kept; at its end, what follows that line."""
        line, end, data = data.partition(b"\n")
        skeleton.feed(line)
        if end:
            self._end_long_line(skeleton)
        return data

    def _end_long_line(self, skeleton: Skeleton) -> None:
        self._skeleton = None
        self._length = 0
        self._clipped = skeleton.full
        self._truncated |= skeleton.full
        self._line(skeleton.json() + skeleton.tail)
        self._clipped = False

    def _line(self, line: bytes) -> None:
        if not line.startswith(b"data:"):
            return
        data = line[5:].strip()
        if self._first is not None and not any(mark in data for mark in self._marks) and not self._clipped:
            return
        if data == b"[DONE]":
            self.ended = True
            return
        found = pick(data)
        if found is None and self._clipped:
            found = pick_clipped(data[:_CLIP], data[-_CLIP:])
        if found is None:
            return
        if found.type in _TERMINAL_TYPES:
            self.ended = True
        self._answering |= found.candidates
        self._finished |= found.finished
        if self._first is None:
            self._first = found
        for name, count in found.tools.items():  # also of events that are not picked
            self._tools[name] = max(count, self._tools.get(name, 0))
        if found.error:
            self.failed = True
            if len(self._errors) < _MAX_ERROR_LINES:
                self._errors.append(found)
        if found.usage:
            if self._opening is None:
                self._opening = found
            self._closing = found

    @property
    def cut_short(self) -> bool:
        """Whether a stream that is over did not say so, though its dialect would. To be asked after `evidence`."""
        return (self._says_end and not self.ended) or (self._answering and not self._finished)

    def evidence(self) -> tuple[tuple[bytes, ...], dict[str, int], bool]:
        if self._skeleton is not None:
            self._end_long_line(self._skeleton)
        if self._rest:  # a last line without its line end
            self._line(b"".join(self._rest))
            self._rest = []
        ordered: list[Picked | None] = []
        for one in (self._first, self._opening, *self._errors, self._closing):
            if not any(one is other for other in ordered):
                ordered.append(one)
        picks, _, truncated = collect(ordered, truncated=self._truncated)
        return picks, self._tools, truncated

    def text(self, limit: int) -> bytes:
        return b""


def _nothing(_: bytes) -> bytes:
    return b""
