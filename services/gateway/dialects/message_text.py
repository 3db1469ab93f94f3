"""Texts that a model reads or writes, for counting tokens.

Nothing of them is kept. Images, audio and files are no text; what the provider's own tools read, and the turns that it
keeps, cannot be seen here. A reader that meets one raises NonText: half a count would be wrong. A tool's declaration is
counted like any other; only a call of it, in the response or in earlier turns, leaves the count open. What a model
thinks without showing it (OpenAI's reasoning, Anthropic's redacted thinking) is missing from the count.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

Object = dict[str, Any]
CALL = "call "  # how the place of a tool call's text begins
KEPT_ELSEWHERE = ("previous_response_id", "conversation", "prompt", "cachedContent", "cached_content")
_MAX_NESTING = 8  # of contents within contents


class NonText(ValueError):
    """Input that affects the token count but is not text."""


def content(value: object, nesting: int = 0) -> Iterator[str]:
    """The texts of a message's content.

    A text, or a list of texts and of parts that hold one, such as Anthropic's tool calls and their results.
    """
    if value is None:
        return
    if nesting > _MAX_NESTING:
        raise NonText
    if isinstance(value, str):
        yield value
        return
    for part in value if isinstance(value, list) else [value]:
        if isinstance(part, str):
            yield part
            continue
        fields = as_object(part)
        kind = fields.get("type", "text")
        if kind in ("text", "input_text", "output_text", "refusal", "summary_text", "reasoning_text"):
            yield from strings(fields, "text", "refusal")
        elif kind == "thinking":
            yield from content(fields.get("thinking"), nesting + 1)
        elif kind == "tool_use":
            yield from (text(fields.get("name")), as_json(fields.get("input")))
        elif kind == "tool_result":
            yield from content(fields.get("content"), nesting + 1)
        elif kind != "redacted_thinking":
            raise NonText


def tools(value: object) -> Iterator[str]:
    """Declarations of tools, each as JSON."""
    for tool in objects(value):
        yield as_json(tool.get("function") or tool)


def strings(value: object, *names: str) -> Iterator[str]:
    """The values of these names that are strings."""
    fields = as_object(value)
    for name in names:
        if isinstance(text := fields.get(name), str):
            yield text


def as_json(value: object) -> str:
    """The value as JSON; "" for an empty one."""
    return msgspec.json.encode(value).decode() if value else ""


def text(value: object) -> str:
    """The value if it is a string, else ""."""
    return value if isinstance(value, str) else ""


def as_object(value: object) -> Object:
    """The value if it is an object, else {}."""
    return value if isinstance(value, dict) else {}


def objects(value: object) -> list[Object]:
    """The objects in a list; [] for anything else."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
