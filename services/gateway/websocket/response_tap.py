"""Evidence of one response whose events come as WebSocket messages."""

import msgspec

from services.gateway.parsing import lenient_json
from services.gateway.usage.evidence import Picked, collect, missing_of, pick, pick_clipped
from services.gateway.usage.gap import TOO_LARGE, Gap
from services.gateway.usage.tool_calls import count_searches, read_candidates
from services.gateway.websocket.messages import Message
from shared.events import UNREAD_TOO_LARGE

_MAX_COPY = 64 << 10  # bytes of a response's events that are kept in case its usage has to be estimated
_MAX_ERRORS = 4
_COUNTED = (b".delta", b".added", b'"serverContent"', b'"toolCall"')  # events with text that the model wrote
_GROUNDING = b'"groundingMetadata"'
_MARKS = (b'"usage', b'"error"', _GROUNDING)


class _ServerContent(msgspec.Struct):
    serverContent: msgspec.Raw = msgspec.Raw()


_server_content = msgspec.json.Decoder(_ServerContent)


class ResponseTap:
    """Picks the first event, those with an error, and the last with usage.

    It has the interface of `services.gateway.usage.tap.Tap`, but gets whole messages. `copy`: keep the first events for
    counting tokens.
    """

    def __init__(self, *, copy: bool) -> None:
        self.ended = False
        self.failed = False
        self.gap: Gap | None = None
        self._first: Picked | None = None
        self._usage: Picked | None = None
        self._errors: list[Picked] = []
        self._tools: dict[str, int] = {}
        self._room = _MAX_COPY if copy else 0
        self._copy: list[bytes] = []
        self._copied = 0
        self._passed = 0  # bytes of events that could have been kept
        self._clipped = False

    @property
    def usage(self) -> bool:
        """Whether an event with usage has passed."""
        return self._usage is not None

    def read(self, message: Message, *, ends: bool, failed: bool) -> None:
        """Read an event of the response. `failed`: it says that the response has failed."""
        text = message.text
        if message.clipped:
            self._clipped = True
            self._take(pick_clipped(text, message.tail))
        elif ends or self._first is None or any(mark in text for mark in _MARKS):
            self._take(pick(text, failed=False))
            if _GROUNDING in text:
                self._count_searches(text)
        if self._room and any(mark in text for mark in _COUNTED):
            self._keep(text)
        self.ended = self.ended or ends
        self.failed = self.failed or failed

    def feed(self, data: bytes) -> None:
        """Read nothing: messages come through `read`."""

    def evidence(self) -> tuple[tuple[bytes, ...], dict[str, int], bool]:
        """(Picks in order, tool calls by name, whether something is missing)."""
        picks: list[Picked | None] = [self._first, *self._errors]
        if self._usage is not self._first:
            picks.append(self._usage)
        kept, tools, truncated = collect(picks, truncated=self._clipped)
        if truncated and (missing := missing_of(picks)):
            self.gap = Gap(missing, UNREAD_TOO_LARGE)
        elif truncated:
            self.gap = TOO_LARGE
        return kept, tools | self._tools, truncated

    def text(self, limit: int) -> bytes:
        """Nothing: an error is an event here."""
        return b""

    def events(self) -> tuple[list[bytes], float]:
        """(Events with text, how many times as much there was)."""
        return self._copy, self._passed / self._copied if self._copied else 1.0

    def _take(self, picked: Picked | None) -> None:
        if picked is None:
            return
        for name, count in picked.tools.items():
            self._tools[name] = max(count, self._tools.get(name, 0))
        if self._first is None:
            self._first = picked
        elif picked.error and not picked.usage and len(self._errors) < _MAX_ERRORS:
            self._errors.append(picked)
        if picked.usage:
            self._usage = picked

    def _keep(self, text: bytes) -> None:
        self._passed += len(text)
        if self._copied < self._room:
            self._copy.append(text)
            self._copied += len(text)

    def _count_searches(self, text: bytes) -> None:
        """Count the searches of a Gemini turn, which stand where a candidate has them elsewhere."""
        message = lenient_json.decode(text, _server_content)
        if message is None:
            return
        try:
            found = count_searches(read_candidates(msgspec.Raw(b"[%s]" % bytes(message.serverContent))))
        except lenient_json.WorkLimitExceeded:
            return
        for name, count in found.items():
            self._tools[name] = self._tools.get(name, 0) + count
