"""Usage of a finished batch, added up by model from its output of one JSON object a line."""

import codecs
from collections.abc import Iterator
from typing import Any

import msgspec

from services.gateway.parsing import lenient_json
from services.gateway.parsing.decompress import CORRUPT, Decompressor
from services.gateway.parsing.json_skeleton import Skeleton
from services.gateway.usage import usage_names
from services.gateway.usage.gap import Gap
from services.gateway.usage.tool_calls import count_items, count_searches, offered_tools, read_candidates
from shared.events import GAP_LINES, GAP_NAMES, UNREAD_CORRUPT, UNREAD_TOO_LARGE, UNREAD_TOO_MANY

# JSON Lines as providers call them; files are served as mere bytes.
KINDS = frozenset(
    {
        "application/x-jsonl",
        "application/jsonl",
        "application/x-ndjson",
        "application/ndjson",
        "application/json-lines",
        "application/x-jsonlines",
        "application/binary",
        "application/octet-stream",
    }
)
OBJECT = "batch.output"  # what a pick says it is
CALLS = "tool_calls"  # in a pick: calls of hosted tools, by item type
_MAX_LINE = 1 << 20
_MAX_MODELS = 16
_MAX_NAMES = 64  # counts of an object, known ones aside, and bytes of a name
_DEPTH = 4
# Lines cost 3 µs each. They are read as long as the bytes of the answer, as they came, are in proportion.
_FREE_LINES = 5_000
_BYTES_A_LINE = 24
_MOST_OPENING = 8  # bytes by which JSON Lines are told from other files
_USAGE = b'"usage'
_ESCAPED = b"\\u00"

Counts = dict[str, Any]


class _Body(msgspec.Struct):
    model: str = ""
    modelVersion: str = ""
    usage: Counts | None = None
    usageMetadata: Counts | None = None
    output: msgspec.Raw = msgspec.Raw()  # only counted
    tools: msgspec.Raw = msgspec.Raw()  # only looked at for preview searches
    candidates: msgspec.Raw = msgspec.Raw()  # only counted


class _Result(msgspec.Struct):
    message: _Body | None = None


class _Response(_Body):
    body: _Body | None = None


class _Line(msgspec.Struct):
    """A line of Anthropic's results (`result.message`), OpenAI's and Mistral's (`response.body`), Gemini's."""

    custom_id: str | None = None
    key: str | None = None
    result: _Result | None = None
    response: _Response | None = None


class _Inlined(msgspec.Struct):
    """The output of a Gemini batch, as it stands in the operation that made it."""

    inlinedResponses: list[_Line] = []


_line = msgspec.json.Decoder(_Line)
_inlined = msgspec.json.Decoder(_Inlined)


class BatchTap:
    """Reads along; a file that is no batch's output leaves nothing."""

    ended = failed = usage = False

    def __init__(self, inflate: Decompressor | None) -> None:
        self.gap: Gap | None = None
        self._inflate = inflate
        self._begun = False
        self._other = False  # not JSON Lines, or not readable any more
        self._decode: codecs.IncrementalDecoder | None = None  # of UTF-16 and UTF-32
        self._rest: list[bytes] = []  # an unfinished line
        self._held = 0
        self._skeleton: Skeleton | None = None  # of an unfinished line that is too long to be kept whole
        self._left = _FREE_LINES  # lines that may still be read
        self._unread = 0  # lines that may state usage and are no JSON
        self._sums: dict[tuple[str, str], Counts] = {}
        self._calls: dict[tuple[str, str], Counts] = {}  # of hosted tools, by item type

    def feed(self, data: bytes) -> None:
        """Read bytes of the file as they pass."""
        if self._other:
            return
        self._left += len(data) // _BYTES_A_LINE
        if self._inflate:
            try:
                data = self._inflate(data)
            except CORRUPT:
                self._other = True
                self._miss(UNREAD_CORRUPT)
                return
        if not self._begun:
            data = self._begin(data)
        if self._decode is not None:
            data = self._decode.decode(data).encode()
        end = data.rfind(b"\n") + 1
        if end:
            self._lines(data[:end])
            data = data[end:]
        self._hold(data)

    def evidence(self) -> tuple[tuple[bytes, ...], dict[str, int], bool]:
        """(One pick a model, no tools, whether something is missing)."""
        if not self._other:
            self._lines(b"\n")
        if self._sums and self._unread:
            self._miss(UNREAD_CORRUPT)
        picks = [
            {"object": OBJECT, "model": key[0][:256], key[1]: usage}
            | ({CALLS: self._calls[key]} if key in self._calls else {})
            for key, usage in self._sums.items()
        ]
        return tuple(msgspec.json.encode(one) for one in picks), {}, self.gap is not None

    def events(self) -> tuple[list[bytes], float] | None:
        """None: a file is no stream."""
        return None

    def text(self, limit: int) -> bytes:
        """Nothing: a file is no error."""
        return b""

    def _begin(self, data: bytes) -> bytes:
        """Tell JSON Lines from other files by the first bytes."""
        data = b"".join((*self._rest, data)).lstrip()
        self._rest = []
        if len(data) < _MOST_OPENING and not data.startswith(b"{"):
            self._rest = [data]
            return b""
        self._begun = True
        self._decode = lenient_json.transcoder(data)
        if self._decode is None:
            data = data.removeprefix(codecs.BOM_UTF8)
            self._other = not data.startswith(b"{")
        return b"" if self._other else data

    def _hold(self, data: bytes) -> None:
        """Keep an unfinished line; of one that grows too long only its skeleton."""
        if self._skeleton is not None:
            self._skeleton.feed(data)
            return
        if data:
            self._rest.append(data)
            self._held += len(data)
        if self._held > _MAX_LINE:
            self._skeleton = Skeleton()
            for part in self._rest:
                self._skeleton.feed(part)
            self._rest = []
            self._held = 0

    def _lines(self, block: bytes) -> None:
        """Read whole lines, what was held back of the first included."""
        if self._skeleton is not None:
            line, _, block = block.partition(b"\n")
            self._skeleton.feed(line)
            if self._skeleton.full:
                self._miss(UNREAD_TOO_LARGE)
            else:
                self._take(self._skeleton.json())
            self._skeleton = None
        elif self._rest:
            line, _, block = block.partition(b"\n")
            self._take(b"".join((*self._rest, line)))
            self._rest = []
            self._held = 0
        for line in _marked(block):
            self._take(line)
            if self._left < 0:  # short lines in very few bytes, as a compressed bomb has them
                return

    def _take(self, line: bytes) -> None:
        self._left -= 1
        if self._left < 0:
            self._miss(UNREAD_TOO_MANY)
            return
        try:
            found = lenient_json.read(line, _line)
        except lenient_json.TooMuch:
            self._miss(UNREAD_TOO_MANY)
            return
        if found is None:
            self._unread += _USAGE in line
            return
        if found.custom_id is None and found.key is None:
            return
        body = found.result.message if found.result else found.response and (found.response.body or found.response)
        if not body:
            return
        for name, usage in (("usage", body.usage), ("usageMetadata", body.usageMetadata)):
            if usage:
                self._add((body.model or body.modelVersion, name), usage, body)

    def _add(self, key: tuple[str, str], usage: Counts, body: _Body) -> None:
        total = self._sums.get(key)
        if total is None:
            if len(self._sums) >= _MAX_MODELS:
                self._miss(UNREAD_TOO_MANY)
                return
            total = self._sums[key] = {}
        if not add(total, usage):
            self._miss(UNREAD_TOO_MANY, missing=GAP_NAMES)
        try:
            calls = _calls(body)
        except lenient_json.TooMuch:
            self._miss(UNREAD_TOO_MANY)
            return
        if calls:
            add(self._calls.setdefault(key, {}), calls)

    def _miss(self, reason: str, *, missing: str = GAP_LINES) -> None:
        if self.gap is None or (missing not in self.gap.missing and missing == GAP_LINES):
            self.gap = Gap((*(self.gap.missing if self.gap else ()), missing), reason)


def _calls(body: _Body) -> Counts:
    """Calls of hosted tools in one answer; a preview search has a price of its own, so it is counted as such."""
    calls = count_items(body.output)
    if any(name.startswith("web_search_call") for name in calls) and b'"web_search_preview' in offered_tools(
        body.tools
    ):
        calls = {name.replace("web_search_call", "web_search_preview_call"): made for name, made in calls.items()}
    searches = count_searches(read_candidates(body.candidates)) if body.candidates else {}
    grounded = {"grounded_prompt": 1} if searches.get("google_search") else {}
    return calls | searches | grounded


def inlined(raw: msgspec.Raw) -> dict[str, Any]:
    """What a pick says of a batch whose answers stand in one document; {} for none, TooMuch for very many."""
    text = bytes(raw)
    if len(text) > _MAX_LINE and text.count(_USAGE) > _FREE_LINES:
        raise lenient_json.TooMuch
    batch = lenient_json.read(text, _inlined)
    found = [one.response for one in batch.inlinedResponses if one.response] if batch else []
    total: Counts = {}
    calls: Counts = {}
    for one in found:
        add(total, one.usageMetadata or {})
        add(calls, _calls(one))
    model = next((one.modelVersion for one in found if one.modelVersion), "")
    counted = {CALLS: calls} if calls else {}
    return {"object": OBJECT, "model": model[:256], "usageMetadata": total} | counted if total else {}


def add(total: Counts, counts: Counts, *, depth: int = _DEPTH) -> bool:
    """Add numbers up by name, at every depth; lists and texts are left out. False when a name had no room."""
    whole = True
    for name, value in counts.items():
        name = name[:_MAX_NAMES]
        before = total.get(name)
        if before is None and len(total) >= _MAX_NAMES and (name not in usage_names.KNOWN or depth < _DEPTH):
            whole = False
        elif isinstance(value, int) and not isinstance(value, bool):
            total[name] = (before if isinstance(before, int) else 0) + value
        elif isinstance(value, dict) and depth:
            inner = before if isinstance(before, dict) else {}
            whole &= add(inner, value, depth=depth - 1)
            total[name] = inner
    return whole


def _marked(block: bytes) -> Iterator[bytes]:
    """The lines that may state usage: by its name, as it is or with escapes."""
    start = 0
    marks = {_USAGE: 0, _ESCAPED: 0}
    while True:
        for mark, at in marks.items():
            if 0 <= at < start or not start:
                marks[mark] = block.find(mark, start)
        found = [at for at in marks.values() if at >= 0]
        if not found:
            return
        at = min(found)
        begin = max(block.rfind(b"\n", start, at) + 1, start)
        end = block.find(b"\n", at)
        yield block[begin : end if end >= 0 else len(block)]
        if end < 0:
            return
        start = end + 1
