"""Pydantic AI: agents that call their tool and answer, on OpenAI's chat API and Anthropic's."""

import asyncio
from typing import Any

from program import main
from pydantic_ai import Agent
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider


def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"rain in {city}"


def said(run: Any) -> Any:
    usage = run.usage() if callable(run.usage) else run.usage
    parts = [
        [type(part).__name__, str(getattr(part, "content", ""))] for one in run.all_messages() for part in one.parts
    ]
    return {"output": run.output, "parts": parts, "usage": [usage.requests, usage.input_tokens, usage.output_tokens]}


async def streamed(agent: Any) -> Any:
    async with agent.run_stream("Hello") as run:
        pieces = [piece async for piece in run.stream_text(delta=True, debounce_by=None)]
        usage = run.usage() if callable(run.usage) else run.usage
        return {"pieces": pieces, "usage": [usage.requests, usage.input_tokens, usage.output_tokens]}


def calls(base: str, key: str) -> dict[str, Any]:
    def openai(model: str = "gpt-4o-mini", **more: Any) -> Any:
        return Agent(OpenAIChatModel(model, provider=OpenAIProvider(base_url=base, api_key=key)), **more)

    def anthropic(model: str = "claude-sonnet-5-5", **more: Any) -> Any:
        return Agent(AnthropicModel(model, provider=AnthropicProvider(base_url=base, api_key=key)), **more)

    return {
        "openai chat": lambda: said(openai().run_sync("Hello")),
        "openai stream": lambda: asyncio.run(streamed(openai())),
        "openai tools": lambda: said(openai(tools=[get_weather]).run_sync("Hello")),
        "openai error": lambda: openai("rec:openai~error_401.json").run_sync("Hello"),
        "anthropic chat": lambda: said(anthropic().run_sync("Hello")),
        "anthropic stream": lambda: asyncio.run(streamed(anthropic())),
        "anthropic tools": lambda: said(anthropic("claude-haiku-4-5", tools=[get_weather]).run_sync("Hello")),
        "anthropic error": lambda: anthropic("rec:anthropic~error_401.json").run_sync("Hello"),
    }


main(calls)
