"""Finish reasons of a stream's choices, extracted only on demand."""

import re
from collections import deque
from collections.abc import Iterable

import msgspec

from services.gateway.parsing import lenient_json, sse

MIN_BLOCK = 40  # bytes; a shorter block, such as a keepalive comment, states no finish reason
MAX_BLOCK = 4 << 10
_MAX_BLOCKS = 8
_MOST_KEPT = 64  # blocks kept unsearched
_STATED = re.compile(rb'"(?:finish|stop)_reason"(?!\s*:\s*null)')
_ANOTHER_CHOICE = re.compile(rb'"index"\s*:\s*[1-9]')  # or another tool call: decoding tells


class _Choice(msgspec.Struct):
    index: int | str | None = 0
    finish_reason: msgspec.Raw = msgspec.Raw()


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None


_chunk = msgspec.json.Decoder(_Chunk)


class FinishReasons:
    """Tracks whether every choice that a stream has begun is finished.

    Blocks are kept by reference until somebody asks. `in_other_events`: the finish reason may precede the event with
    usage, so the last blocks are kept in `recent`.
    """

    __slots__ = ("_finished", "_kept", "_open", "_searched", "_several", "_stated", "recent")

    def __init__(self, *, in_other_events: bool) -> None:
        self.recent = deque[bytes](maxlen=_MAX_BLOCKS) if in_other_events else None
        self._kept: list[bytes] = []
        self._searched = False
        self._stated = False
        self._several = False  # there may be more than one choice: each is followed by its index
        self._open: set[int | str | None] = set()
        self._finished: set[int | str | None] = set()

    def keep(self, event: bytes) -> None:
        """Keep the data of an event with usage, and the blocks before it."""
        if self.recent:
            self._kept.extend(self.recent)
            self.recent.clear()
        self._kept.append(event)
        if len(event) > MAX_BLOCK or len(self._kept) > _MOST_KEPT:  # usage in every event
            self.before_usage()

    def before_usage(self) -> bool:
        """Whether all choices were finished when usage was last stated."""
        self._search(self._kept)
        self._kept.clear()
        return self._stated and not self._open

    def at_end(self) -> bool:
        """Whether all choices are finished, the last blocks included."""
        self.before_usage()
        self._search(self.recent or ())
        return self._stated and not self._open

    def _search(self, blocks: Iterable[bytes]) -> None:
        for block in blocks:
            if self.recent is not None and not self._several and _ANOTHER_CHOICE.search(block):
                self._several = True
                if self._searched:  # so far there was the first choice only
                    (self._finished if self._stated else self._open).add(0)
            if self._several:
                self._read_choices(block)
            elif not self._stated and block.rfind(b'_reason"') >= 0:  # far faster than the pattern
                self._stated = _STATED.search(block) is not None
            self._searched = True

    def _read_choices(self, block: bytes) -> None:
        for data in [block] if block.startswith(b"{") else sse.datas(block):
            chunk = lenient_json.decode(data, _chunk)
            for choice in (chunk and chunk.choices) or ():
                if bytes(choice.finish_reason) not in (b"", b"null"):
                    self._stated = True
                    self._open.discard(choice.index)
                    self._finished.add(choice.index)
                elif choice.index not in self._finished:
                    self._open.add(choice.index)
