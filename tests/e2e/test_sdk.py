"""The providers' own SDKs must not notice Metrion: same objects, same exceptions; and each call is booked."""

import inspect
import json
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import anthropic
import google.genai as genai
import openai
import pytest
from google.genai import errors as genai_errors
from mistralai.client import Mistral
from mistralai.client import errors as mistral_errors

from tests.system import TOKEN, System

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
        options = {"base_url": self.path("/gemini"), "headers": self.headers}
        return self._hold(genai.Client(api_key=self.key, http_options=options))  # type: ignore[arg-type]

    def mistral(self) -> Any:
        client = Mistral(api_key=self.key, server_url=self.path("/mistral"))
        client.close = lambda: client.__exit__(None, None, None)  # type: ignore[attr-defined] — it has no other way
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


def _plain(found: Any) -> Any:
    """A result as data; what an SDK adds about the transport is left out."""
    data = json.loads(json.dumps(dump(found), default=str))
    for one in data if isinstance(data, list) else [data]:
        one.pop("sdk_http_response", None)
    return data


@pytest.mark.parametrize("name", CALLS)
def test_a_call_gives_the_same_objects_and_is_booked_exactly(metrion: System, name: str) -> None:
    call, tokens, cost = CALLS[name]
    direct, through = Way(metrion, through=False), Way(metrion, through=True)
    assert _plain(call(through)) == _plain(call(direct))
    for way in (direct, through):
        way.close()
    (row,) = metrion.wait_for_rows(1, f"requester = '{through.user}'")
    assert (row["input_tokens"], Decimal(row["cost"]), row["outcome"]) == (tokens, Decimal(cost), "complete")
    assert (row["account"], row["token"], row["usage_source"]) == ("default", "test", "reported")
    assert row["stream"] is ("stream" in name)


ERRORS: dict[str, tuple[Call, type[Exception]]] = {
    "openai 401": (lambda w: w.openai().chat.completions.create(model="rec:openai~error_401.json", messages=HELLO), openai.AuthenticationError),
    "openai 429": (lambda w: w.openai().chat.completions.create(model="rec:openai~error_429.json", messages=HELLO), openai.RateLimitError),
    "openai 503": (lambda w: w.openai().chat.completions.create(model="rec:openai~error_503.json", messages=HELLO), openai.InternalServerError),
    "openai mid-stream": (lambda w: list(w.openai().chat.completions.create(model="rec:openai~chat_stream_error.sse", messages=HELLO, stream=True)), openai.APIError),
    "grok 429": (lambda w: w.openai(provider="grok").chat.completions.create(model="rec:xai~error_429.json", messages=HELLO), openai.RateLimitError),
    "anthropic 401": (lambda w: w.anthropic().messages.create(model="rec:anthropic~error_401.json", max_tokens=9, messages=HELLO), anthropic.AuthenticationError),
    "anthropic 429": (lambda w: w.anthropic().messages.create(model="rec:anthropic~error_429.json", max_tokens=9, messages=HELLO), anthropic.RateLimitError),
    "anthropic mid-stream": (lambda w: list(w.anthropic().messages.create(model="rec:anthropic~messages_stream_error.sse", max_tokens=9, messages=HELLO, stream=True)), anthropic.APIStatusError),
    "gemini 429": (lambda w: w.gemini().models.generate_content(model="rec:gemini~error_429.json", contents="x"), genai_errors.ClientError),
    "mistral 429": (lambda w: w.mistral().chat.complete(model="rec:mistral~error_429.json", messages=HELLO, http_headers=w.headers), mistral_errors.SDKError),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_raises_the_same_exception_and_is_booked(metrion: System, name: str) -> None:
    call, kind = ERRORS[name]
    caught = []
    direct, through = Way(metrion, through=False), Way(metrion, through=True)
    for way in (direct, through):
        with pytest.raises(kind) as error:
            call(way)
        caught.append(error.value)
        way.close()
    assert type(caught[0]) is type(caught[1])
    assert str(caught[0]) == str(caught[1])
    assert getattr(caught[0], "status_code", 0) == getattr(caught[1], "status_code", 0)
    (row,) = metrion.wait_for_rows(1, f"requester = '{through.user}'")
    assert row["error_message"]
    if "mid-stream" in name:
        assert (row["outcome"], row["usage_source"]) == ("upstream_error", "estimated")
        assert row["cost_source"] == "estimated" and Decimal(row["cost"]) > 0
    else:
        assert (row["status"], Decimal(row["cost"])) == (
            caught[1].status_code if hasattr(caught[1], "status_code") else 429,
            0,
        )


async def test_the_async_clients_work_alike(metrion: System) -> None:
    direct, through = Way(metrion, through=False), Way(metrion, through=True)
    for kind in ("chat", "messages"):
        found = []
        for way in (direct, through):
            if kind == "chat":
                async with way.openai(openai.AsyncOpenAI) as client:
                    stream = await client.chat.completions.create(model="gpt-4o-mini", messages=HELLO, stream=True)
                    found.append([one.model_dump() async for one in stream])
            else:
                async with way.anthropic(anthropic.AsyncAnthropic) as client:
                    stream = await client.messages.create(
                        model="claude-sonnet-5-5", max_tokens=9, messages=HELLO, stream=True
                    )
                    found.append([one.model_dump() async for one in stream])
        assert found[0] == found[1]
    metrion.wait_for_rows(2, f"requester = '{through.user}'")


def test_our_own_refusals_raise_the_sdks_exceptions(metrion: System) -> None:
    bad = "sk-metrion-" + "0" * 32
    client = openai.OpenAI(base_url=f"{metrion.url}/openai/v1", api_key=bad, max_retries=2)
    with client, pytest.raises(openai.AuthenticationError, match="unknown or revoked"):
        client.models.list()
    other = anthropic.Anthropic(base_url=metrion.url, api_key=bad)
    with other, pytest.raises(anthropic.AuthenticationError, match="unknown or revoked"):
        other.messages.create(model="m", max_tokens=1, messages=HELLO)


def test_the_row_stands_within_two_seconds_of_the_answer(metrion: System) -> None:
    rows = metrion.rows("outcome = 'complete'", "dateDiff('millisecond', started_at, ingested_at) - latency_ms AS lag")
    assert rows
    assert sorted(row["lag"] for row in rows)[len(rows) // 2] < 2000
