"""JSON of a request or of a stream's events in, the texts that a model reads or writes out: one reader a dialect.

Only for counting: nothing of it is kept. Images, audio and files are no text, and what tools the provider runs or what
turns it keeps cannot be seen here: a reader that meets one raises NoText, for half a count is none. What a model thinks
without showing it (OpenAI's reasoning, Anthropic's redacted thinking) leaves no trace, and is missing in the count.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import msgspec

from shared import contract

Object = dict[str, Any]
Texts = Iterator[tuple[str, str]]  # (what it belongs to, text): pieces of one kind make one text
_CALL = "call "  # how the kind of a tool call begins

_KEPT_ELSEWHERE = ("previous_response_id", "conversation", "prompt", "cachedContent", "cached_content")
_MOST_PIECES = 10_000
_MESSAGES = ("messages", "input", "contents")
_OWN_TOOLS = frozenset({"function", "custom", ""})  # tools that the client runs


class NoText(ValueError):
    """Something that bears on the count and is no text."""


def prompt(dialect: str, body: bytes) -> tuple[list[str], int]:
    """(texts, number of messages) of a request's body. ValueError: NoText, or no JSON object."""
    found = msgspec.json.decode(body)
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
    for event in events:
        try:
            found = msgspec.json.decode(event)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue
        if isinstance(found, dict):
            for kind, text in read(found):
                kinds.setdefault(kind, []).append(text)
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
        if kind not in ("message", "function_call", "function_call_output", "custom_tool_call", "reasoning"):
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
        if tool.get("type", "custom") not in _OWN_TOOLS:
            raise NoText
        yield _json(tool)


def _gemini_prompt(body: Object) -> Iterator[str]:
    if any(body.get(name) for name in _KEPT_ELSEWHERE):
        raise NoText
    for content in (body.get("systemInstruction") or body.get("system_instruction"), *_objects(body.get("contents"))):
        for _, text in _parts(_object(content)):
            yield text
    for tool in _objects(body.get("tools")):
        if set(tool) - {"functionDeclarations", "function_declarations"}:
            raise NoText
        yield _json(tool)


def _chat_answer(event: Object) -> Texts:
    for choice in _objects(event.get("choices")):
        place = str(choice.get("index"))
        yield place, _text(choice.get("text"))  # of /completions
        delta = _object(choice.get("delta"))
        if delta.get("audio") or delta.get("images"):
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
        if _text(item.get("type")).endswith("_call") and item["type"] not in ("function_call", "custom_tool_call"):
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
        if candidate.get("groundingMetadata"):
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


def _content(value: object) -> Iterator[str]:
    """A text, or a list of texts and of parts that hold one, such as Anthropic's tool calls and their results."""
    if value is None:
        return
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
            yield from _content(found.get("thinking"))
        elif kind == "tool_use":
            yield from (_text(found.get("name")), _json(found.get("input")))
        elif kind == "tool_result":
            yield from _content(found.get("content"))
        elif kind != "redacted_thinking":
            raise NoText


def _tools(value: object) -> Iterator[str]:
    for tool in _objects(value):
        if tool.get("type", "") not in _OWN_TOOLS:
            raise NoText
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
    contract.OPENAI_CHAT: _chat_prompt,
    contract.OPENAI_RESPONSES: _responses_prompt,
    contract.ANTHROPIC: _anthropic_prompt,
    contract.GEMINI: _gemini_prompt,
}
_ANSWERS: dict[str, Callable[[Object], Texts]] = {
    contract.OPENAI_CHAT: _chat_answer,
    contract.OPENAI_RESPONSES: _responses_answer,
    contract.ANTHROPIC: _anthropic_answer,
    contract.GEMINI: _gemini_answer,
}
DIALECTS = frozenset(_PROMPTS)
