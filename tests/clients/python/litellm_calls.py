"""LiteLLM's client library: completion() with a provider's prefix before the model."""

from typing import Any

import litellm
from program import main

HELLO = [{"role": "user", "content": "Hello"}]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]


def said(answer: Any) -> Any:
    """An answer without the ids and times that LiteLLM makes up."""
    return answer.model_dump(exclude={"id", "created", "response_ms"})


def calls(base: str, key: str) -> dict[str, Any]:
    def ask(model: str, **more: Any) -> Any:
        return litellm.completion(model=model, messages=HELLO, api_base=base, api_key=key, num_retries=0, **more)

    mini, sonnet, haiku = "openai/gpt-4o-mini", "anthropic/claude-sonnet-5-5", "anthropic/claude-haiku-4-5"
    return {
        "openai chat": lambda: said(ask(mini)),
        "openai stream": lambda: [said(one) for one in ask(mini, stream=True)],
        "openai tools": lambda: said(ask(mini, tools=TOOLS)),
        "openai error": lambda: ask("openai/rec:openai~error_429.json"),
        "anthropic chat": lambda: said(ask(sonnet, max_tokens=9)),
        "anthropic stream": lambda: [said(one) for one in ask(sonnet, max_tokens=9, stream=True)],
        "anthropic tools": lambda: said(ask(haiku, max_tokens=9, tools=TOOLS)),
        "anthropic error": lambda: ask("anthropic/rec:anthropic~error_401.json", max_tokens=9),
    }


main(calls)
