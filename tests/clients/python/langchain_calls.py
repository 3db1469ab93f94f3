"""LangChain: ChatOpenAI and ChatAnthropic, with tools bound to them, and a chain in front."""

from typing import Any

from langchain_anthropic import ChatAnthropic
from langchain_core.messages import BaseMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from program import main


@tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"rain in {city}"


def said(message: BaseMessage) -> dict[str, Any]:
    """A message without the run id that LangChain makes up for one without its own."""
    return message.model_dump(exclude={"id"})


def calls(base: str, key: str) -> dict[str, Any]:
    def openai(model: str = "gpt-4o-mini") -> Any:
        return ChatOpenAI(model=model, base_url=base, api_key=key, max_retries=0)

    def anthropic(model: str = "claude-sonnet-5-5") -> Any:
        return ChatAnthropic(model=model, base_url=base, api_key=key, max_retries=0, max_tokens=9)

    prompt = ChatPromptTemplate.from_messages([("user", "Hello {name}")])
    return {
        "openai chat": lambda: said((prompt | openai()).invoke({"name": "you"})),
        "openai stream": lambda: [said(one) for one in openai().stream("Hello")],
        "openai tools": lambda: said(openai().bind_tools([get_weather]).invoke("Hello")),
        "openai error": lambda: openai("rec:openai~error_429.json").invoke("Hello"),
        "anthropic chat": lambda: said((prompt | anthropic()).invoke({"name": "you"})),
        "anthropic stream": lambda: [said(one) for one in anthropic().stream("Hello")],
        "anthropic tools": lambda: said(anthropic("claude-haiku-4-5").bind_tools([get_weather]).invoke("Hello")),
        "anthropic error": lambda: anthropic("rec:anthropic~error_401.json").invoke("Hello"),
    }


main(calls)
