"""Calls of the official SDKs, one of each kind."""

import inspect
import json
import uuid
from collections.abc import Callable
from typing import Any

import anthropic
import google.genai as genai
import openai
from google.genai import errors as genai_errors
from mistralai.client import Mistral

from tests.support import servers
from tests.support.system import TOKEN, System

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]

TOOLS: list[Any] = [{"name": "get_weather", "description": "w", "input_schema": {"type": "object", "properties": {}}}]


class Way:
    """To the provider directly, or through Metrion."""

    def __init__(self, system: System, *, through: bool) -> None:
        self.through, self.user = through, uuid.uuid4().hex
        self.base = system.url if through else system.provider.url
        self.key = TOKEN if through else "own-key"
        self.headers = {"x-metrion-user": self.user}
        self._clients: list[Any] = []  # held: Gemini's closes when nobody holds it any more

    def path(self, through: str, direct: str = "") -> str:
        return self.base + (through if self.through else direct)

    def openai(self, kind: Any = openai.OpenAI, provider: str = "openai") -> Any:
        base = self.path(f"/{provider}/v1", "/v1")
        return self._hold(kind(base_url=base, api_key=self.key, max_retries=0, default_headers=self.headers))

    def anthropic(self, kind: Any = anthropic.Anthropic) -> Any:
        return self._hold(kind(base_url=self.path(""), api_key=self.key, max_retries=0, default_headers=self.headers))

    def gemini(self) -> Any:
        options: Any = {"base_url": self.path("/gemini"), "headers": self.headers}
        return self._hold(genai.Client(api_key=self.key, http_options=options))

    def mistral(self) -> Any:
        client: Any = Mistral(  # whose own timeout is httpx's, 5 s
            api_key=self.key, server_url=self.path("/mistral"), timeout_ms=int(servers.DEADLINE * 1000)
        )
        client.close = lambda: client.__exit__(None, None, None)  # it has no other way
        return self._hold(client)

    def _hold(self, client: Any) -> Any:
        self._clients.append(client)
        return client

    def close(self) -> None:
        """Close what was opened."""
        for client in self._clients:
            if not inspect.iscoroutinefunction(client.close):
                client.close()


Call = Callable[[Way], Any]


def dump(found: Any) -> Any:
    return [one.model_dump() for one in found] if not hasattr(found, "model_dump") else found.model_dump()


CALLS: dict[str, tuple[Call, int | None, str]] = {
    # name → (call, input tokens, cost)
    "openai chat": (lambda w: w.openai().chat.completions.create(model="gpt-4o-mini", messages=HELLO), 19, "0.00000765"),
    "openai chat stream": (
        lambda w: w.openai().chat.completions.create(model="gpt-4o-mini", messages=HELLO, stream=True),
        26,
        "0.0000093",
    ),
    "openai chat stream with usage": (
        lambda w: w.openai().chat.completions.create(
            model="gpt-4o-mini", messages=HELLO, stream=True, stream_options={"include_usage": True}
        ),
        26,
        "0.0000093",
    ),
    "openai responses": (lambda w: w.openai().responses.create(model="gpt-6.1-terra", input="x"), 9100, "0.0185508"),
    "openai responses stream": (
        lambda w: w.openai().responses.create(model="gpt-6.1-terra", input="x", stream=True),
        37,
        "0.000127",
    ),
    "openai embeddings": (lambda w: w.openai().embeddings.create(model="text-embedding-3-small", input="x"), 12, "0.00000024"),
    "grok chat": (lambda w: w.openai(provider="grok").chat.completions.create(model="grok-4.7", messages=HELLO), 1200, "0.003"),
    "gemini compatible": (
        lambda w: w.openai(provider="gemini").chat.completions.create(model="gemini-3.8-flash", messages=HELLO)
        if w.through
        else w._hold(openai.OpenAI(base_url=w.base + "/v1beta/openai", api_key="k")).chat.completions.create(
            model="gemini-3.8-flash", messages=HELLO
        ),
        31,
        "0.00038325",
    ),
    "anthropic": (lambda w: w.anthropic().messages.create(model="claude-sonnet-5-5", max_tokens=9, messages=HELLO), 21, "0.000172"),
    "anthropic stream": (
        lambda w: w.anthropic().messages.create(model="claude-sonnet-5-5", max_tokens=9, messages=HELLO, stream=True),
        6169,
        "0.0060496",
    ),
    "anthropic tools stream": (
        lambda w: w.anthropic().messages.create(
            model="claude-haiku-4-5", max_tokens=9, messages=HELLO, stream=True, tools=TOOLS
        ),
        472,
        "0.000917",
    ),
    "gemini": (lambda w: w.gemini().models.generate_content(model="gemini-3.8-flash", contents="x"), 5300, "0.0027852"),
    "gemini stream": (
        lambda w: w.gemini().models.generate_content_stream(model="gemini-3.8-flash", contents="x"),
        31,
        "0.00038325",
    ),
    "mistral": (
        lambda w: w.mistral().chat.complete(model="mistral-medium-3.5", messages=HELLO, http_headers=w.headers),
        1040,
        "0.0004404",
    ),
    "mistral stream": (
        lambda w: w.mistral().chat.stream(model="mistral-medium-3.5", messages=HELLO, http_headers=w.headers),
        15,
        "0.000075",
    ),
    "openai transcription": (
        lambda w: w.openai().audio.transcriptions.create(model="gpt-4o-transcribe", file=("a.wav", b"RIFF" * 50_000)),
        140,
        "0.00102",
    ),
    "openai images": (lambda w: w.openai().images.generate(model="gpt-image-2", prompt="x"), 50, "0.03193"),
    "openai images stream": (
        lambda w: w.openai().images.generate(model="gpt-image-1.5", prompt="x", stream=True),
        50,
        "0.034042",
    ),
    "grok responses with tools": (lambda w: w.openai(provider="grok").responses.create(model="grok-4.7", input="x"), 1500, "0.01902"),
    "gemini search": (
        lambda w: w.gemini().models.generate_content(model="rec:gemini~search.json", contents="x"),
        231,
        "0.02854825",
    ),
    "gemini embeddings": (lambda w: w.gemini().models.embed_content(model="gemini-embedding-2", contents="x"), 9, "0.0000018"),
    "mistral fim stream": (
        lambda w: w.mistral().fim.stream(model="codestral-latest", prompt="x", http_headers=w.headers),
        9,
        "0.0000099",
    ),
    "mistral ocr": (
        lambda w: w.mistral().ocr.process(
            model="mistral-ocr-latest",
            document={"type": "document_url", "document_url": "https://example.com/a.pdf"},
            http_headers=w.headers,
        ),
        None,
        "0.012",
    ),
}  # fmt: skip


def plain(found: Any) -> Any:
    """A result as data; what an SDK adds about the transport is left out."""
    data = json.loads(json.dumps(dump(found), default=str))
    for one in data if isinstance(data, list) else [data]:
        one.pop("sdk_http_response", None)
    return data


def openai_call(way: Way, retries: int = 0) -> None:
    client = way.openai().with_options(max_retries=retries)
    client.chat.completions.create(model="gpt-4o-mini", messages=HELLO)


def anthropic_call(way: Way, retries: int = 0) -> None:
    client = way.anthropic().with_options(max_retries=retries)
    client.messages.create(model="claude-haiku-4-5", max_tokens=50, messages=HELLO)


def gemini_call(way: Way, retries: int = 0) -> None:
    way.gemini().models.generate_content(model="gemini-2.5-flash", contents="Hello")


# A call, and the exception that its SDK raises when it is refused.
LIMITED: dict[str, tuple[Callable[..., None], type[Exception]]] = {
    "openai": (openai_call, openai.RateLimitError),
    "anthropic": (anthropic_call, anthropic.RateLimitError),
    "gemini": (gemini_call, genai_errors.ClientError),
}


def refusal(name: str, way: Way, *, retries: int = 0) -> tuple[Any, int]:
    """Call until it is refused; the SDK's exception, and the number of calls.

    A limit arrives within a second, and a new minute may begin.
    """
    call, refused = LIMITED[name]
    found: list[Exception] = []
    calls = 0

    def is_refused() -> bool:
        nonlocal calls
        calls += 1
        try:
            call(way, retries)
        except refused as error:
            found.append(error)
        return bool(found)

    servers.wait_for(is_refused, "a refusal")
    return found[0], calls
