"""Tokens that a response used, for limits; the logger reads them again for prices."""

from collections.abc import Iterable
from typing import Annotated, NamedTuple

import msgspec

from shared.events import Evidence

_Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 40)]


class UsedTokens(NamedTuple):
    """Tokens of prompt (with cached ones) and response (with reasoning)."""

    input: int
    output: int


class _Counts(msgspec.Struct):
    """Counts as the APIs name them; those of a stream only grow."""

    prompt_tokens: _Count = 0
    completion_tokens: _Count = 0
    input_tokens: _Count = 0
    output_tokens: _Count = 0
    cache_creation_input_tokens: _Count | None = 0
    cache_read_input_tokens: _Count | None = 0
    total_tokens: _Count = 0
    prompt_count: _Count = msgspec.field(default=0, name="promptTokenCount")
    tool_prompt_count: _Count = msgspec.field(default=0, name="toolUsePromptTokenCount")
    candidates_count: _Count = msgspec.field(default=0, name="candidatesTokenCount")
    thoughts_count: _Count = msgspec.field(default=0, name="thoughtsTokenCount")
    total_count: _Count = msgspec.field(default=0, name="totalTokenCount")


class _Inner(msgspec.Struct):
    usage: msgspec.Raw = msgspec.Raw()


class _Pick(msgspec.Struct):
    """Where picks have their counts."""

    usage: msgspec.Raw = msgspec.Raw()
    usageMetadata: msgspec.Raw = msgspec.Raw()
    message: msgspec.Raw = msgspec.Raw()  # Anthropic's message_start
    response: msgspec.Raw = msgspec.Raw()  # events of the Responses API
    interaction: msgspec.Raw = msgspec.Raw()  # events of Gemini's interactions


_pick = msgspec.json.Decoder(_Pick)
_inner = msgspec.json.Decoder(_Inner)
_counts = msgspec.json.Decoder(_Counts)


def read(evidence: Evidence) -> UsedTokens | None:
    """Tokens of a response, counted by the provider or estimated; None if unknown."""
    candidates = [used for pick in evidence.picks for counts in _counts_of(pick) if (used := _used(counts))]
    estimate = evidence.estimate
    if estimate is not None:
        candidates.append(UsedTokens(estimate.input or 0, estimate.output or 0))
    if not any(map(sum, candidates)):
        return None
    return UsedTokens(max(used.input for used in candidates), max(used.output for used in candidates))


def _used(counts: _Counts) -> UsedTokens:
    cached = (counts.cache_creation_input_tokens or 0) + (counts.cache_read_input_tokens or 0)
    sent = max(counts.prompt_tokens, counts.input_tokens + cached, counts.prompt_count + counts.tool_prompt_count)
    made = max(counts.completion_tokens, counts.output_tokens, counts.candidates_count + counts.thoughts_count)
    total = max(counts.total_tokens, counts.total_count)  # may have thoughts that no other count has
    return UsedTokens(sent, max(made, total - sent))


def _counts_of(pick: bytes) -> Iterable[_Counts]:
    """Usage objects of a pick; those that cannot be read are left out."""
    try:
        outer = _pick.decode(pick)
        raws = [outer.usage, outer.usageMetadata]
        for raw in (outer.message, outer.response, outer.interaction):
            if raw and bytes(raw)[:1] == b"{":
                raws.append(_inner.decode(raw).usage)
        for raw in raws:
            if raw and bytes(raw)[:1] == b"{":
                yield _counts.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return
