"""The texts that a model reads in a request and writes in a stream's events, for counting: one reader a dialect.

Nothing of them is kept. Images, audio and files are no text; what the provider's own tools read, and the turns that it
keeps, cannot be seen here. A reader that meets one raises NoText: half a count would be wrong. A tool's declaration is
counted like any other; only a call of it, in the answer or in earlier turns, leaves the count open. What a model thinks
without showing it (OpenAI's reasoning, Anthropic's redacted thinking) is missing in the count.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import msgspec

from services.gateway.parsing import lenient_json, sse
from shared.events import ANTHROPIC, GEMINI, OPENAI_CHAT, OPENAI_RESPONSES

Object = dict[str, Any]
Texts = Iterator[tuple[str, str]]  # (what it belongs to, text): pieces of one kind make one text
_CALL = "call "  # how the kind of a tool call begins

_KEPT_ELSEWHERE = ("previous_response_id", "conversation", "prompt", "cachedContent", "cached_content")
_MOST_PIECES = 10_000
_MESSAGES = ("messages", "input", "contents")
_MAX_MARKS = 80_000  # brackets and commas of a body, beyond which reading it would hold up others
_MAX_NESTING = 8  # of contents within contents
_MAX_REPAIRS = 50  # events that only a lenient reader takes
_CALLS = frozenset({"function_call", "custom_tool_call"})  # of tools that the client runs
_CLIENT_ITEMS = frozenset(
    {"message", "reasoning", *_CALLS, "function_call_output", "custom_tool_call_output"}
)  # of the Responses API's input
_SHELL_ITEMS = frozenset(
    f"{tool}_call{end}" for tool in ("shell", "local_shell", "apply_patch") for end in ("", "_output")
)  # likewise, written out as JSON
_any = msgspec.json.Decoder()


class NoText(ValueError):
    """Something that bears on the count and is no text."""


def prompt(dialect: str, body: bytes) -> tuple[list[str], int]:
    """(texts, number of messages) of a request's body. ValueError: NoText, or no JSON object."""
    if sum(body.count(mark) for mark in (b"{", b"[", b",")) > _MAX_MARKS:
        raise NoText
    found = lenient_json.decode(body, _any)
    if not isinstance(found, dict):
        raise NoText
    pieces = list(islice(_PROMPTS[dialect](found), _MOST_PIECES + 1))
    if len(pieces) > _MOST_PIECES:
        raise NoText  # nobody's conversation: it would only hold up others
    return [text for text in pieces if text], next(
        (len(listed) for name in _MESSAGES if isinstance(listed := found.get(name), list)), 1
    )


def answer(dialect: str, events: Iterable[bytes]) -> tuple[list[str], int]:
    """(texts, number of tool calls) of a stream's events, each kind in one piece. What is no JSON is passed over."""
    kinds: dict[str, list[str]] = {}
    read = _ANSWERS[dialect]
    repairs = 0
    left = _MOST_PIECES
    for event in events:
        if event == sse.DONE or repairs > _MAX_REPAIRS:
            continue
        try:
            found = _any.decode(event)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            repairs += 1
            found = lenient_json.decode(event, _any)
        if isinstance(found, dict):
            for kind, text in islice(read(found), left):
                left -= 1
                kinds.setdefault(kind, []).append(text)
            if not left:
                raise NoText
    whole = ["".join(pieces) for pieces in kinds.values()]
    return [text for text in whole if text], sum(kind.startswith(_CALL) for kind in kinds)


def _chat_prompt(body: Object) -> Iterator[str]:
    for message in _objects(body.get("messages")):
        yield _text(message.get("role"))
        yield from _content(message.get("content"))
        for call in _objects(message.get("tool_calls")):
            yield from _strings(call.get("function"), "name", "arguments")
    yield from _content(body.get("prompt"))  # of /completions
    yield from _tools(body.get("tools"))
    yield _json(body.get("response_format"))


def _responses_prompt(body: Object) -> Iterator[str]:
    if any(body.get(name) for name in _KEPT_ELSEWHERE):
        raise NoText
    yield from _content(body.get("instructions"))
    given = body.get("input")
    for item in _objects(given) if isinstance(given, list) else [{"content": given}]:
        kind = item.get("type", "message")
        if kind in _SHELL_ITEMS:
            yield _json(item)
            continue
        if kind not in _CLIENT_ITEMS:
            raise NoText
        yield from _content(item.get("content"))
        yield from _content(item.get("output"))
        yield from _strings(item, "role", "name", "arguments", "input")
    yield from _tools(body.get("tools"))
    yield _json(body.get("text"))


def _anthropic_prompt(body: Object) -> Iterator[str]:
    yield from _content(body.get("system"))
    for message in _objects(body.get("messages")):
        yield _text(message.get("role"))
        yield from _content(message.get("content"))
    for tool in _objects(body.get("tools")):
        yield _json(tool)


def _gemini_prompt(body: Object) -> Iterator[str]:
    if any(body.get(name) for name in _KEPT_ELSEWHERE):
        raise NoText
    for content in (body.get("systemInstruction") or body.get("system_instruction"), *_objects(body.get("contents"))):
        for _, text in _parts(_object(content)):
            yield text
    for tool in _objects(body.get("tools")):
        yield _json(tool)


def _chat_answer(event: Object) -> Texts:
    for choice in _objects(event.get("choices")):
        place = str(choice.get("index"))
        yield place, _text(choice.get("text"))  # of /completions
        delta = _object(choice.get("delta"))
        if any(delta.get(name) for name in ("audio", "images", "annotations")):
            raise NoText
        for name in ("content", "reasoning_content", "reasoning", "refusal"):
            for text in _content(delta.get(name)):
                yield place + name, text
        for call in _objects(delta.get("tool_calls")):
            for text in _strings(call.get("function"), "name", "arguments"):
                yield f"{_CALL}{place} {call.get('index')}", text


def _responses_answer(event: Object) -> Texts:
    kind, place = _text(event.get("type")), str(event.get("output_index"))
    if kind == "response.output_item.added":
        item = _object(event.get("item"))
        kind = _text(item.get("type"))
        if kind.startswith("mcp_") or (kind.endswith("_call") and kind not in _CALLS):
            raise NoText
        if item.get("name"):
            yield _CALL + place, _text(item.get("name"))
    if kind.endswith(".delta"):
        if "audio" in kind and "transcript" not in kind:
            raise NoText
        yield place + kind, _text(event.get("delta"))


def _anthropic_answer(event: Object) -> Texts:
    block, delta = _object(event.get("content_block")), _object(event.get("delta"))
    place = str(event.get("index"))
    if block and block.get("type") not in ("text", "thinking", "redacted_thinking", "tool_use"):
        raise NoText
    for text in (*_strings(block, "text", "thinking"), *_strings(delta, "text", "thinking")):
        yield place, text
    for text in (*_strings(block, "name"), *_strings(delta, "partial_json")):
        yield _CALL + place, text


def _gemini_answer(event: Object) -> Texts:
    for candidate in _objects(event.get("candidates")):
        if candidate.get("groundingMetadata") or candidate.get("urlContextMetadata"):
            raise NoText
        place = str(candidate.get("index"))
        for kind, text in _parts(_object(candidate.get("content"))):
            yield place + kind, text


def _parts(content: Object) -> Texts:
    """Gemini's parts, of a prompt or an answer: (key, text)."""
    for part in _objects(content.get("parts")):
        for name, value in part.items():
            if name == "text":
                yield name, _text(value)
            elif name in ("functionCall", "functionResponse", "function_call", "function_response"):
                yield name, _json(value)
            elif name not in ("thought", "thoughtSignature", "thought_signature"):
                raise NoText


def _content(value: object, nesting: int = 0) -> Iterator[str]:
    """A text, or a list of texts and of parts that hold one, such as Anthropic's tool calls and their results."""
    if value is None:
        return
    if nesting > _MAX_NESTING:
        raise NoText
    if isinstance(value, str):
        yield value
        return
    for part in value if isinstance(value, list) else [value]:
        if isinstance(part, str):
            yield part
            continue
        found = _object(part)
        kind = found.get("type", "text")
        if kind in ("text", "input_text", "output_text", "refusal", "summary_text", "reasoning_text"):
            yield from _strings(found, "text", "refusal")
        elif kind == "thinking":
            yield from _content(found.get("thinking"), nesting + 1)
        elif kind == "tool_use":
            yield from (_text(found.get("name")), _json(found.get("input")))
        elif kind == "tool_result":
            yield from _content(found.get("content"), nesting + 1)
        elif kind != "redacted_thinking":
            raise NoText


def _tools(value: object) -> Iterator[str]:
    for tool in _objects(value):
        yield _json(tool.get("function") or tool)


def _strings(value: object, *names: str) -> Iterator[str]:
    found = _object(value)
    for name in names:
        if isinstance(text := found.get(name), str):
            yield text


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode() if value else ""


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _object(value: object) -> Object:
    return value if isinstance(value, dict) else {}


def _objects(value: object) -> list[Object]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


_PROMPTS: dict[str, Callable[[Object], Iterator[str]]] = {
    OPENAI_CHAT: _chat_prompt,
    OPENAI_RESPONSES: _responses_prompt,
    ANTHROPIC: _anthropic_prompt,
    GEMINI: _gemini_prompt,
}
_ANSWERS: dict[str, Callable[[Object], Texts]] = {
    OPENAI_CHAT: _chat_answer,
    OPENAI_RESPONSES: _responses_answer,
    ANTHROPIC: _anthropic_answer,
    GEMINI: _gemini_answer,
}
DIALECTS = frozenset(_PROMPTS)
