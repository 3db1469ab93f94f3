"""A tap on the answer's bytes: a bounded, decompressed copy is read for evidence while the client gets the original."""

from typing import Protocol

from services.gateway.evidence import Picked, collect, elements, pick, pick_clipped
from services.gateway.inflate import CORRUPT, Inflate, inflater
from services.gateway.tally import KINDS, Tally
from shared import contract

MAX_DOCUMENT = 8 << 20  # bytes of a JSON answer, decompressed, that are kept to be read at its end
MAX_LINE = 1 << 20  # bytes of one line of a stream; of longer ones head and tail are kept
_CLIP = 16 << 10
_MAX_ERROR_LINES = 4

# A line of a stream is looked at when it holds one of these; whether it means it is told by decoding it.
_MARKS: dict[str, tuple[bytes, ...]] = {
    contract.ANTHROPIC: (b'"usage"', b'"error"', b"message_stop"),
    contract.OPENAI_CHAT: (b'"usage":{', b'"usage": {', b'"error"', b"[DONE]"),
    contract.OPENAI_RESPONSES: (b"response.completed", b"response.incomplete", b"response.failed", b'"error"'),
    contract.OPENAI_OTHER: (b'"usage":{', b'"usage": {', b'"error"', b"[DONE]"),
    contract.GEMINI: (b'"usageMetadata"', b'"error"', b'"usage":{', b'"usage": {'),
}
_TERMINAL_TYPES = frozenset({"message_stop", "response.completed", "response.incomplete", "response.failed"})
# Dialects whose streams say that they are over; without that a stream was cut short.
SAYS_END = frozenset({contract.ANTHROPIC, contract.OPENAI_CHAT, contract.OPENAI_RESPONSES})


class Tap(Protocol):
    """`ended`: the dialect's terminal event went by. `failed`: an error event did."""

    ended: bool
    failed: bool

    def feed(self, data: bytes) -> None: ...

    def evidence(self) -> tuple[tuple[bytes, ...], dict[str, int], bool]: ...

    def text(self, limit: int) -> bytes:
        """The answer's first bytes, decompressed, for an error that is no JSON."""
        ...


def open_tap(status: int, content_type: str, encoding: str, dialect: str) -> Tap:
    """The tap for an answer, told by its status and headers. An error is kept whatever its type."""
    kind = content_type.partition(";")[0].strip().lower()
    try:
        inflate = inflater(encoding)
    except LookupError:
        return Blind()
    if kind == "text/event-stream" and status < 400:
        return Lines(dialect, inflate)
    if status >= 400 or kind == "application/json" or kind.endswith("+json"):
        return Document(inflate)
    if kind in KINDS:
        return Tally(inflate)
    return Blind()


class Blind:
    """For answers that say nothing about money: audio, files, plain text."""

    ended = failed = False

    def feed(self, data: bytes) -> None:
        pass

    def evidence(self) -> tuple[tuple[bytes, ...], dict[str, int], bool]:
        return (), {}, False

    def text(self, limit: int) -> bytes:
        return b""


class Document:
    """A JSON answer: kept until its end, then picked. An array (one way Gemini streams) is read like lines."""

    ended = failed = False

    def __init__(self, inflate: Inflate | None) -> None:
        self._inflate, self._parts, self._size = inflate, list[bytes](), 0
        self._tail = b""
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
        if self._size <= MAX_DOCUMENT:
            self._parts.append(data)
        else:
            self._tail = (self._tail + data)[-_CLIP:]

    def text(self, limit: int) -> bytes:
        return b"".join(self._parts)[:limit]

    def evidence(self) -> tuple[tuple[bytes, ...], dict[str, int], bool]:
        document = b"".join(self._parts)
        if self._size > MAX_DOCUMENT:
            tail = (document[-_CLIP:] + self._tail)[-_CLIP:]
            return collect([pick_clipped(document[:_CLIP], tail)], truncated=True)
        if document.lstrip()[:1] == b"[":
            picked = [one for element in elements(document) if (one := pick(element))]
            with_usage = [one for one in picked if one.usage][-1:]
            return collect([*picked[:1], *(one for one in picked[1:] if one.error), *with_usage], truncated=False)
        return collect([pick(document)], truncated=self._broken)


class Lines:
    """A stream of events: the first data line, each error line, the first and the last line with usage are picked."""

    def __init__(self, dialect: str, inflate: Inflate | None) -> None:
        self.ended = self.failed = False
        self._marks, self._inflate = _MARKS[dialect], inflate
        self._rest, self._length, self._clipped = list[bytes](), 0, False
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
        if self._rest or not data.endswith(b"\n"):
            data = self._whole_lines(data)
            if not data:
                return
        while self._first is None or self._clipped:
            line, _, data = data.partition(b"\n")
            self._line(line)
            self._clipped = False
            if not data:
                return
        for start in self._marked(data):
            self._line(data[start:].partition(b"\n")[0])

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
        cut = data.rfind(b"\n") + 1
        block = b"".join((*self._rest, data[:cut])) if cut else b""
        if cut:
            self._rest, self._length = [], 0
        if cut < len(data):
            self._hold(data[cut:])
        return block

    def _hold(self, data: bytes) -> None:
        """Keep an unfinished line; of one that grows too long only head and tail."""
        self._rest.append(data)
        self._length += len(data)
        if self._length > MAX_LINE:
            held = b"".join(self._rest)
            self._rest, self._length = [held[:_CLIP], held[-_CLIP:]], 2 * _CLIP
            self._clipped = self._truncated = True

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

    def evidence(self) -> tuple[tuple[bytes, ...], dict[str, int], bool]:
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
