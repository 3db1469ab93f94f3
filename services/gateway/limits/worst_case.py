"""The most tokens that a request can use, as far as its body bounds them."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from services.gateway.dialects import DIALECTS
from services.gateway.parsing import json_skeleton, strict_json

MOST_OUTPUT = 1_000_000_000  # tokens: more than any model writes, however large the number that a request states
TOOL_TOKENS = 1000  # of the system prompt that a provider adds to a request with tools
_FACTORS = ("n", "best_of", "candidateCount")
_ENDPOINTS = ("/messages", "/completions", "/responses", ":generateContent", ":streamGenerateContent")
# What some server might take for one of these, under another spelling.
_FOLDED = frozenset(
    name.lower().replace("_", "")
    for names in (_FACTORS, *((own.maxima_in, *own.output_maxima) for own in DIALECTS.values()))
    for name in names
    if name
)
_STORED = frozenset({"previous_response_id", "conversation", "cachedContent", "cached_content"})  # billed as input, too
_EMBEDDINGS = ("/embeddings", ":embedContent", ":batchEmbedContents")  # which have no output
_any = msgspec.json.Decoder()


class Bounds(NamedTuple):
    """The most tokens of a request and of its response."""

    input_tokens: int
    output_tokens: int


def bounds(body: bytes, *, dialect: str, endpoint: str) -> Bounds | None:
    """Bounds of a request; None if it has none, or if servers may read it differently.

    None also if it has too many members to be read. Each byte is a token at the worst. Not bounded are
    hosted tools, and what the messages only refer to.
    """
    try:
        return _bounds(body, dialect=dialect, endpoint=endpoint)
    except (strict_json.Ambiguous, msgspec.MsgspecError, RecursionError):
        return None


def _bounds(body: bytes, *, dialect: str, endpoint: str) -> Bounds | None:
    strict_json.check_encoding(body)
    text = json_skeleton.of_request(body, drops_numbers=False)
    if text is None:
        return None
    members = strict_json.read(text)
    prompt = _any.decode(members.get("prompt", b"null"))
    if _STORED & members.keys() or isinstance(prompt, dict):  # a stored one
        return None
    tokens = len(body) + (TOOL_TOKENS if "tools" in members else 0)
    if endpoint.endswith(_EMBEDDINGS):
        return Bounds(tokens, 0)
    own = DIALECTS[dialect]
    if own.maxima_in:
        inner = members.pop(own.maxima_in, b"{}")
        if any(map(_is_bound, members)):
            return None
        members = strict_json.read(inner)
    given = {name: _any.decode(value) for name, value in members.items() if _is_bound(name)}
    factors = [given.pop(name) for name in _FACTORS if name in given]
    stated = [given.pop(name) for name in own.output_maxima if name in given]
    if given or not stated or not _are_counts([*stated, *factors]) or not endpoint.endswith(_ENDPOINTS):
        return None
    output = max(stated) * max(factors, default=1) * _prompts(prompt)
    return Bounds(tokens, min(output, MOST_OUTPUT))


def _is_bound(name: str) -> bool:
    return name.lower().replace("_", "") in _FOLDED


def _are_counts(values: Iterable[Any]) -> bool:
    return all(type(value) is int and value > 0 for value in values)


def _prompts(prompt: Any) -> int:
    """Number of prompts of a completion, each with a response of its own; token numbers are one prompt."""
    if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int):
        return len(prompt)
    return 1
