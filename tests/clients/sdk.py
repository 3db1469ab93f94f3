"""The providers' official Python SDKs behind one interface."""

import contextlib
import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import anthropic
import google.genai as genai
import openai
from mistralai.client import Mistral

from tests.support import servers
from tests.support.system import TOKEN, System

PATIENCE = servers.DEADLINE  # seconds until an SDK gives up
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FUNCTION: Any = {"type": "function", "function": {"name": "get_weather", "description": "w", "parameters": SCHEMA}}
TOOL: Any = {"name": "get_weather", "description": "w", "input_schema": SCHEMA}


class Asked(NamedTuple):
    """What a client wants. `prompt` chooses among the answers of a mock provider."""

    prompt: str = "hello"
    stream: bool = False
    tools: bool = False


class SdkResponse(NamedTuple):
    """What the SDK's objects said, without ids and times. `usage` is (input, output)."""

    pieces: list[str]
    calls: list[tuple[str, Any]]
    usage: tuple[int, int] | None


class Failure(NamedTuple):
    """What the SDK raised: its class, and the status if there was one."""

    kind: str
    status: int | None


class Road:
    """One requester's way to the five providers: `bases` are what stands before /v1."""

    def __init__(self, bases: Mapping[str, str], key: str = "own-key", **headers: str) -> None:
        self.bases, self.key, self.user = bases, key, uuid.uuid4().hex
        self.headers = {"x-metrion-user": self.user, **headers}

    def ask(self, provider: str, asked: Asked) -> SdkResponse | Failure:
        """What the provider's SDK answers or raises; any exception is a failure of some class."""
        try:
            return PROVIDERS[provider](self, asked)
        except Exception as error:
            status = getattr(error, "status_code", None) or getattr(error, "code", None)
            return Failure(type(error).__name__, status if isinstance(status, int) else None)

    @contextlib.contextmanager
    def openai(self, name: str, *, retries: int = 0) -> Iterator[openai.OpenAI]:
        """A client of OpenAI's API, which others speak too."""
        base = f"{self.bases[name]}/v1"
        with openai.OpenAI(
            base_url=base, api_key=self.key, max_retries=retries, timeout=PATIENCE, default_headers=self.headers
        ) as client:
            yield client


def chunks(road: Road, name: str) -> list[dict[str, Any]]:
    """A chat stream whose usage nobody asked for, chunk by chunk, without ids and times."""
    models = {"openai": "gpt-4o-mini", "grok": "grok-4.7"}
    with road.openai(name) as client:
        messages: Any = [{"role": "user", "content": "hello"}]
        stream = client.chat.completions.create(model=models[name], messages=messages, stream=True)
        return [one.model_dump(exclude={"id", "created"}) for one in stream]


def through(metrion: System, **headers: str) -> Road:
    """The way through Metrion, as a requester of its own."""
    names = ("openai", "gemini", "mistral", "grok")
    return Road({"anthropic": metrion.url} | {name: f"{metrion.url}/{name}" for name in names}, TOKEN, **headers)


def _openai_chat(road: Road, asked: Asked, *, name: str = "openai", model: str = "gpt-4o-mini") -> SdkResponse:
    more: Any = {"tools": [FUNCTION]} if asked.tools else {}
    more |= {"model": model, "messages": [{"role": "user", "content": asked.prompt}]}
    with road.openai(name) as client:
        if not asked.stream:
            found = client.chat.completions.create(**more)
            message = found.choices[0].message
            calls = [(one.function.name, json.loads(one.function.arguments)) for one in message.tool_calls or []]
            return SdkResponse([message.content or ""], calls, _openai_usage(found.usage))
        pieces, names, arguments, usage = [], [], [""], None
        for chunk in client.chat.completions.create(stream=True, stream_options={"include_usage": True}, **more):
            usage = _openai_usage(chunk.usage) or usage
            for choice in chunk.choices:
                pieces += [choice.delta.content] if choice.delta.content else []
                for call in choice.delta.tool_calls or []:
                    names += [call.function.name] if call.function.name else []
                    arguments[0] += call.function.arguments or ""
        return SdkResponse(pieces, [(one, json.loads(arguments[0])) for one in names], usage)


def _grok(road: Road, asked: Asked) -> SdkResponse:
    return _openai_chat(road, asked, name="grok", model="grok-4.7")


def _openai_usage(usage: Any) -> tuple[int, int] | None:
    return usage and (usage.prompt_tokens, usage.completion_tokens)


def _responses(road: Road, asked: Asked) -> SdkResponse:
    more: Any = {"tools": [{"type": "function", "strict": False, **FUNCTION["function"]}]} if asked.tools else {}
    more |= {"model": "gpt-4o-mini", "input": asked.prompt}
    with road.openai("openai") as client:
        if not asked.stream:
            return _response(client.responses.create(**more), None)
        pieces: list[str] = []
        final = None
        for event in client.responses.create(stream=True, **more):
            if event.type == "response.output_text.delta":
                pieces.append(event.delta)
            if event.type == "response.completed":
                final = event.response
        return _response(final, pieces) if final else SdkResponse(pieces, [], None)


def _response(found: Any, pieces: list[str] | None) -> SdkResponse:
    calls = [(one.name, json.loads(one.arguments)) for one in found.output if one.type == "function_call"]
    usage = found.usage and (found.usage.input_tokens, found.usage.output_tokens)
    return SdkResponse([found.output_text] if pieces is None else pieces, calls, usage)


def _anthropic(road: Road, asked: Asked) -> SdkResponse:
    more: Any = {"tools": [TOOL]} if asked.tools else {}
    more |= {"model": "claude-haiku-4-5", "max_tokens": 99, "messages": [{"role": "user", "content": asked.prompt}]}
    with anthropic.Anthropic(
        base_url=road.bases["anthropic"],
        api_key=road.key,
        max_retries=0,
        timeout=PATIENCE,
        default_headers=road.headers,
    ) as client:
        if not asked.stream:
            found = client.messages.create(**more)
            pieces = [one.text for one in found.content if one.type == "text"]
            calls = [(one.name, one.input) for one in found.content if one.type == "tool_use"]
            return SdkResponse(pieces, calls, (found.usage.input_tokens, found.usage.output_tokens))
        pieces, names, arguments, usage = [], [], "", [0, 0]
        for event in client.messages.create(stream=True, **more):
            if event.type == "message_start":
                usage = [event.message.usage.input_tokens, event.message.usage.output_tokens]
            elif event.type == "message_delta":
                usage[1] = event.usage.output_tokens
            elif event.type == "content_block_start" and event.content_block.type == "tool_use":
                names.append(event.content_block.name)
            elif event.type == "content_block_delta" and event.delta.type == "text_delta":
                pieces.append(event.delta.text)
            elif event.type == "content_block_delta" and event.delta.type == "input_json_delta":
                arguments += event.delta.partial_json
        return SdkResponse(pieces, [(one, json.loads(arguments)) for one in names], (usage[0], usage[1]))


def _gemini(road: Road, asked: Asked) -> SdkResponse:
    declared = {"name": "get_weather", "description": "w", "parameters_json_schema": SCHEMA}
    more: Any = {"model": "gemini-3.8-flash", "contents": asked.prompt}
    if asked.tools:
        more["config"] = {"tools": [{"function_declarations": [declared]}]}
    options: Any = {
        "base_url": road.bases["gemini"],
        "api_version": "v1beta",  # all that the mock providers know
        "headers": road.headers,
        "timeout": int(PATIENCE * 1000),
        "retry_options": {"attempts": 1},
    }
    client = genai.Client(api_key=road.key, http_options=options)
    try:
        models = client.models
        found = list(models.generate_content_stream(**more)) if asked.stream else [models.generate_content(**more)]
    finally:
        client.close()
    parts = [part for one in found for part in _parts(one)]
    metadata: Any = found[-1].usage_metadata if found else None
    usage = metadata and (metadata.prompt_token_count, metadata.candidates_token_count)
    calls = [(part.function_call.name, part.function_call.args) for part in parts if part.function_call]
    return SdkResponse([part.text for part in parts if part.text], calls, usage)


def _parts(answer: Any) -> list[Any]:
    return [part for one in answer.candidates or [] for part in (one.content and one.content.parts) or []]


def _mistral(road: Road, asked: Asked) -> SdkResponse:
    more: Any = {"tools": [FUNCTION]} if asked.tools else {}
    more |= {"model": "mistral-medium-3.5", "messages": [{"role": "user", "content": asked.prompt}]}
    more |= {"http_headers": road.headers, "timeout_ms": int(PATIENCE * 1000)}
    with Mistral(api_key=road.key, server_url=road.bases["mistral"]) as client:
        if not asked.stream:
            found = client.chat.complete(**more)
            message = found.choices[0].message
            return SdkResponse([message.content or ""], _mistral_calls(message), _openai_usage(found.usage))
        pieces: list[str] = []
        calls: list[tuple[str, Any]] = []
        usage = None
        for event in client.chat.stream(**more):
            usage = _openai_usage(event.data.usage) or usage
            for choice in event.data.choices:
                pieces += [choice.delta.content] if choice.delta.content else []
                calls += _mistral_calls(choice.delta)
        return SdkResponse(pieces, calls, usage)


def _mistral_calls(message: Any) -> list[tuple[str, Any]]:
    return [(one.function.name, one.function.arguments) for one in message.tool_calls or []]


PROVIDERS: dict[str, Callable[[Road, Asked], SdkResponse]] = {
    "openai": _openai_chat,
    "responses": _responses,
    "anthropic": _anthropic,
    "gemini": _gemini,
    "mistral": _mistral,
    "grok": _grok,
}
