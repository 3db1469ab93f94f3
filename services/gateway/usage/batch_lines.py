"""Lines of a batch's output: their shape, and sums of the usage that they state."""

from typing import Any

import msgspec

from services.gateway.parsing import lenient_json
from services.gateway.usage import usage_names
from services.gateway.usage.count_shape import COUNT_NAME, Counts
from services.gateway.usage.tool_calls import count_items, count_searches, offered_tools, read_candidates

OBJECT = "batch.output"  # what a pick says it is
CALLS = "tool_calls"  # in a pick: calls of hosted tools, by item type
USAGE = b'"usage'  # in each line that may state usage
MAX_LINE = 1 << 20  # bytes of a line that is kept whole
FREE_LINES = 5_000  # lines that are read of any response
_MAX_NAMES = 64  # counts of an object, known ones aside, and bytes of a name
_DEPTH = 4
_INVALID = -1  # a sum of which a part is invalid: nobody may take the rest for the whole


class _Body(msgspec.Struct, gc=False):
    model: str = ""
    modelVersion: str = ""
    usage: msgspec.Raw = msgspec.Raw()
    usageMetadata: msgspec.Raw = msgspec.Raw()
    output: msgspec.Raw = msgspec.Raw()  # only counted
    tools: msgspec.Raw = msgspec.Raw()  # only looked at for preview searches
    candidates: msgspec.Raw = msgspec.Raw()  # only counted


def line_of(body: Any) -> Any:
    """Type of a line, with `body` as the type of the response in it.

    Anthropic's lines have it in `result.message`, OpenAI's and Mistral's in `response.body`, Gemini's in `response`.
    """
    result = msgspec.defstruct("Result", [("message", body | None, None)], gc=False)
    response = msgspec.defstruct("Response", [("body", body | None, None)], bases=(body,), gc=False)
    return msgspec.defstruct(
        "Line",
        [
            ("custom_id", str | None, None),
            ("key", str | None, None),
            ("result", result | None, None),
            ("response", response | None, None),
        ],
        gc=False,
    )


line_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(line_of(_Body))
# The output of a Gemini batch, as it stands in the operation that made it.
_inlined: msgspec.json.Decoder[Any] = msgspec.json.Decoder(
    msgspec.defstruct("Inlined", [("inlinedResponses", list[line_of(_Body)], [])])  # type: ignore[misc]
)
counts_decoder = msgspec.json.Decoder(Counts)


def body_of(line: Any) -> Any:
    """The response in a line; None for a line that is not one of a batch's output."""
    if line.custom_id is None and line.key is None:
        return None
    if line.result is not None and line.result.message is not None:
        return line.result.message
    return line.response and (line.response.body or line.response)


def hosted_calls(body: Any) -> Counts:
    """Calls of hosted tools in one response, by item type.

    A preview search has a price of its own, so it is counted as such.
    """
    calls = count_items(body.output)
    if any(name.startswith("web_search_call") for name in calls) and b'"web_search_preview' in offered_tools(
        body.tools
    ):
        calls = {name.replace("web_search_call", "web_search_preview_call"): made for name, made in calls.items()}
    searches = count_searches(read_candidates(body.candidates)) if body.candidates else {}
    grounded = {"grounded_prompt": 1} if searches.get("google_search") else {}
    return calls | searches | grounded


def inlined(raw: msgspec.Raw) -> dict[str, Any]:
    """The pick of a batch whose responses are in one document.

    {} for none, WorkLimitExceeded for very many.
    """
    text = bytes(raw)
    if len(text) > MAX_LINE and text.count(USAGE) > FREE_LINES:
        raise lenient_json.WorkLimitExceeded
    batch = lenient_json.read(text, _inlined)
    responses = [one.response for one in batch.inlinedResponses if one.response] if batch else []
    total: Counts = {}
    calls: Counts = {}
    for one in responses:
        if one.usageMetadata and (usage := lenient_json.decode(one.usageMetadata, counts_decoder)):
            add(total, usage)
        add(calls, hosted_calls(one))
    model = next((one.modelVersion for one in responses if one.modelVersion), "")
    counted = {CALLS: calls} if calls else {}
    return {"object": OBJECT, "model": model[:256], "usageMetadata": total} | counted if total else {}


def add(total: Counts, counts: Counts, *, depth: int = _DEPTH) -> bool:
    """Sum counts by name, at every depth; False when a name had no room.

    Lists and texts are left out, but where a count belongs they make its sum invalid.
    """
    whole = True
    for name, value in counts.items():
        name = name[:_MAX_NAMES]
        before = total.get(name)
        if before is None and len(total) >= _MAX_NAMES and (name not in usage_names.KNOWN or depth < _DEPTH):
            whole = False
        elif isinstance(value, dict) and depth:
            inner = before if isinstance(before, dict) else {}
            whole &= add(inner, value, depth=depth - 1)
            total[name] = inner
        elif (count := _count(name, value)) is not None:
            sum_before = before if isinstance(before, int) else 0
            total[name] = _INVALID if _INVALID in (count, sum_before) else sum_before + count
    return whole


def _count(name: str, value: object) -> int | None:
    """A value as a count; _INVALID where it should be one, None where it need not."""
    if isinstance(value, float) and value.is_integer() and COUNT_NAME.search(name):
        value = int(value)
    if type(value) is int:
        return max(value, _INVALID)
    return _INVALID if isinstance(value, str | float | bool) and COUNT_NAME.search(name) else None
