"""A finished batch's answers, one JSON object a line, in; their usage added up by model out, and nothing else."""

from typing import Any

import msgspec

from services.gateway.calls import count_items, count_searches, offered_tools, read_candidates
from services.gateway.gap import Gap
from services.gateway.inflate import CORRUPT, Inflate
from shared import contract

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
_DEPTH = 4

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


class Tally:
    """Reads along; a file that is no batch's output leaves nothing."""

    ended = failed = usage = False
    gap: Gap | None = Gap((contract.GAP_LINES,), contract.UNREAD_TOO_LARGE)

    def __init__(self, inflate: Inflate | None) -> None:
        self._inflate = inflate
        self._rest, self._skipping, self._begun, self._other = b"", False, False, False
        self._truncated = False
        self._sums: dict[tuple[str, str], Counts] = {}
        self._calls: dict[tuple[str, str], Counts] = {}  # of hosted tools, by item type

    def feed(self, data: bytes) -> None:
        if self._other:
            return
        if self._inflate:
            try:
                data = self._inflate(data)
            except CORRUPT:
                self._other = self._truncated = True
                return
        if not self._begun and (start := data.lstrip()):
            self._begun, self._other = True, not start.startswith(b"{")
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            self._take(line)
        if len(self._rest) > _MAX_LINE:
            self._rest, self._skipping, self._truncated = b"", True, True

    def _take(self, line: bytes) -> None:
        if self._skipping:  # the end of a line that was too long
            self._skipping = False
            return
        try:
            found = _line.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return
        if found.custom_id is None and found.key is None:
            return
        body = found.result.message if found.result else found.response and (found.response.body or found.response)
        if not body:
            return
        for name, usage in (("usage", body.usage), ("usageMetadata", body.usageMetadata)):
            if usage:
                key = (body.model or body.modelVersion, name)
                self._add(key, usage)
                if key in self._sums and (calls := _calls(body)):
                    self._calls[key] = _sum(self._calls.get(key, {}), calls, 0)

    def _add(self, key: tuple[str, str], usage: Counts) -> None:
        if key not in self._sums and len(self._sums) >= _MAX_MODELS:
            self._truncated = True
            return
        self._sums[key] = _sum(self._sums.get(key, {}), usage, _DEPTH)

    def evidence(self) -> tuple[tuple[bytes, ...], dict[str, int], bool]:
        if self._rest and not self._other:
            self._take(self._rest)
            self._rest = b""
        picks = [
            {"object": OBJECT, "model": key[0][:256], key[1]: usage}
            | ({CALLS: self._calls[key]} if key in self._calls else {})
            for key, usage in self._sums.items()
        ]
        return tuple(msgspec.json.encode(one) for one in picks), {}, self._truncated

    def events(self) -> tuple[list[bytes], float] | None:
        return None

    def text(self, limit: int) -> bytes:
        return b""


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
    """What a pick says of a batch whose answers stand in one document; {} when there are none."""
    try:
        found = [one.response for one in _inlined.decode(raw).inlinedResponses if one.response]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}
    total: Counts = {}
    calls: Counts = {}
    for one in found:
        total = _sum(total, one.usageMetadata or {}, _DEPTH)
        calls = _sum(calls, _calls(one), 0)
    model = next((one.modelVersion for one in found if one.modelVersion), "")
    counted = {CALLS: calls} if calls else {}
    return {"object": OBJECT, "model": model[:256], "usageMetadata": total} | counted if total else {}


def _sum(one: Counts, other: Counts, depth: int) -> Counts:
    """Numbers added up by name, at every depth; lists and texts are left out."""
    total = dict(one)
    for name, value in other.items():
        before = total.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            total[name] = (before if isinstance(before, int) else 0) + value
        elif isinstance(value, dict) and depth:
            total[name] = _sum(before if isinstance(before, dict) else {}, value, depth - 1)
    return total
