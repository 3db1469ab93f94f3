"""An answer replayed in its other form must be the same answer to the providers' own SDKs.

Their imports stand in the functions: they take seconds, and every worker collects this module.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from services.gateway.cache import convert
from shared.events import ANTHROPIC, GEMINI, OPENAI_CHAT, OPENAI_RESPONSES
from tests.support import sample_responses
from tests.support.sample_responses import SampleResponse

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
USAGE = {"include_usage": True}
Served = Callable[[bytes, str], str]
Found = dict[str, Any]

# A client of OpenAI takes Gemini's parallel calls, all with index 0, for one: what it reads is no measure.
MISREAD = "gemini compatible tools stream"
STREAMS = {
    name: one
    for name, one in sample_responses.STREAMS.items()
    if name not in ("openai/chat_stream_nousage.sse", MISREAD)
}


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    """A provider that answers with given bytes: `served(body, media type)` is its address."""
    bodies: list[tuple[bytes, str]] = []

    async def answer(request: web.Request) -> web.Response:
        body, kind = bodies[int(request.path.split("/")[1])]
        return web.Response(body=body, headers={"content-type": kind})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()

    def serve(body: bytes, kind: str) -> str:
        bodies.append((body, kind))
        return f"http://127.0.0.1:{runner.addresses[0][1]}/{len(bodies) - 1}"

    yield serve
    await runner.cleanup()


def plain(found: Any) -> Any:
    """A result as data, without what an SDK parses for itself and what only streams have."""
    if isinstance(found, dict):
        left_out = ("parsed", "parsed_output", "parsed_arguments", "obfuscation", "sdk_http_response", "request_id")
        return {key: plain(value) for key, value in found.items() if key not in left_out and value is not None}
    return [plain(one) for one in found] if isinstance(found, list) else found


def completion(found: Any) -> Found:
    """What a chat completion says."""
    said = plain(found.model_dump())
    for choice in said["choices"]:
        for call in choice["message"].get("tool_calls") or []:
            call.pop("index", None)
    names = ("id", "created", "model", "choices", "usage", "service_tier", "system_fingerprint")
    return {name: said.get(name) for name in names}


async def read_anthropic(url: str, *, stream: bool) -> Found:
    import anthropic

    async with anthropic.AsyncAnthropic(base_url=url, api_key="k", max_retries=0) as client:
        return await _message(client.messages, stream=stream)


async def read_beta(url: str, *, stream: bool) -> Found:
    import anthropic

    async with anthropic.AsyncAnthropic(base_url=url, api_key="k", max_retries=0) as client:
        return await _message(client.beta.messages, stream=stream)


async def _message(messages: Any, *, stream: bool) -> Found:
    if stream:
        async with messages.stream(model="m", max_tokens=9, messages=HELLO) as events:
            return dict(plain((await events.get_final_message()).model_dump()))
    return dict(plain((await messages.create(model="m", max_tokens=9, messages=HELLO)).model_dump()))


async def read_chat(url: str, *, stream: bool) -> Found:
    import openai

    async with openai.AsyncOpenAI(base_url=url, api_key="k", max_retries=0) as client:
        if stream:
            async with client.chat.completions.stream(model="m", messages=HELLO, stream_options=USAGE) as events:  # type: ignore[arg-type]
                return completion(await events.get_final_completion())
        return completion(await client.chat.completions.create(model="m", messages=HELLO))


async def read_legacy(url: str, *, stream: bool) -> Found:
    import openai

    async with openai.AsyncOpenAI(base_url=url, api_key="k", max_retries=0) as client:
        found: Any = await client.completions.create(model="m", prompt="x", stream=stream)
        chunks = [plain(one.model_dump()) async for one in found] if stream else [plain(found.model_dump())]
    said: Found = {"id": chunks[0]["id"], "usage": chunks[-1]["usage"]}
    for choice in (choice for chunk in chunks for choice in chunk["choices"]):
        known = said.setdefault(choice["index"], {"text": ""})
        known["text"] += choice.pop("text")
        known |= choice
    return said


async def read_responses(url: str, *, stream: bool) -> Found:
    import openai

    async with openai.AsyncOpenAI(base_url=url, api_key="k", max_retries=0) as client:
        if stream:
            async with client.responses.stream(model="m", input="x") as events:
                return dict(plain((await events.get_final_response()).model_dump()))
        return dict(plain((await client.responses.create(model="m", input="x")).model_dump()))


async def read_mistral(url: str, *, stream: bool) -> Found:
    from mistralai.client import Mistral

    async with Mistral(api_key="k", server_url=url) as client:
        if stream:
            chunks: list[Any] = [
                one.data.model_dump() async for one in await client.chat.stream_async(model="m", messages=HELLO)
            ]
            pieces = [
                (one["index"], one["delta"], one["finish_reason"]) for chunk in chunks for one in chunk["choices"]
            ]
        else:
            chunks = [(await client.chat.complete_async(model="m", messages=HELLO)).model_dump()]
            pieces = [(one["index"], one["message"], one["finish_reason"]) for one in chunks[0]["choices"]]
    said: Found = {"id": chunks[0]["id"], "model": chunks[0]["model"], "usage": plain(chunks[-1]["usage"])}
    for index, message, finish in pieces:
        known = said.setdefault(index, {"text": "", "thinking": "", "calls": []})
        content = message.get("content") or []
        found: list[Any] = [{"type": "text", "text": content}] if isinstance(content, str) else content
        for part in found:
            known["text"] += part.get("text", "")
            known["thinking"] += "".join(one["text"] for one in part.get("thinking", []))
        known["calls"] += plain(message.get("tool_calls") or [])
        known["finish"] = finish
    return said


def _gemini_chunks(url: str, *, stream: bool) -> list[Found]:
    """Read in a thread: the async client is at odds with a deprecation of aiohttp's."""
    from google import genai

    with genai.Client(api_key="k", http_options={"base_url": url}) as client:
        if stream:
            return [plain(one.model_dump()) for one in client.models.generate_content_stream(model="m", contents="x")]
        return [plain(client.models.generate_content(model="m", contents="x").model_dump())]


async def read_gemini(url: str, *, stream: bool) -> Found:
    chunks = await asyncio.to_thread(_gemini_chunks, url, stream=stream)
    said: Found = {name: chunks[-1].get(name) for name in ("model_version", "response_id", "usage_metadata")}
    for candidate in (one for chunk in chunks for one in chunk["candidates"]):
        known = said.setdefault(candidate.get("index", 0), {"text": "", "thought": "", "parts": []})
        for part in candidate.pop("content")["parts"]:
            if "text" in part and "thought_signature" not in part:
                known["thought" if part.get("thought") else "text"] += part["text"]
            else:
                known["parts"].append(part)
        known |= {name: value for name, value in candidate.items() if value}
    return said


READERS = {
    ANTHROPIC: read_anthropic,
    OPENAI_CHAT: read_chat,
    OPENAI_RESPONSES: read_responses,
    GEMINI: read_gemini,
}


def reader(answer: SampleResponse) -> Callable[..., Awaitable[Found]]:
    if b'"iterations"' in answer.body:
        return read_beta  # the other client knows no iterations, and leaves them out of a stream's message
    if answer.provider == "mistral":
        return read_mistral
    return read_legacy if answer.endpoint == sample_responses.LEGACY else READERS[answer.dialect]


@pytest.mark.parametrize("name", sample_responses.DOCUMENTS)
async def test_a_document_is_the_same_response_as_a_stream(served: Served, name: str) -> None:
    one = sample_responses.DOCUMENTS[name]
    stream = convert.to_stream(one.dialect, one.endpoint, one.body, usage=True, provider=one.provider)
    expected = await reader(one)(served(one.body, convert.media_type(one.dialect, stream=False)), stream=False)
    assert await reader(one)(served(stream, convert.media_type(one.dialect, stream=True)), stream=True) == expected


@pytest.mark.parametrize("name", STREAMS)
async def test_a_stream_is_the_same_response_as_a_document(served: Served, name: str) -> None:
    one = STREAMS[name]
    document = convert.to_document(one.dialect, one.endpoint, one.body, provider=one.provider)
    expected = await reader(one)(served(one.body, convert.media_type(one.dialect, stream=True)), stream=True)
    assert await reader(one)(served(document, convert.media_type(one.dialect, stream=False)), stream=False) == expected


@pytest.mark.parametrize("name", STREAMS)
async def test_a_stream_is_the_same_response_after_both_conversions(served: Served, name: str) -> None:
    one = STREAMS[name]
    document = convert.to_document(one.dialect, one.endpoint, one.body, provider=one.provider)
    again = convert.to_stream(one.dialect, one.endpoint, document, usage=True, provider=one.provider)
    kind = convert.media_type(one.dialect, stream=True)
    assert await reader(one)(served(again, kind), stream=True) == await reader(one)(served(one.body, kind), stream=True)


async def test_cached_message_streams_to_the_beta_client(served: Served) -> None:
    one = sample_responses.DOCUMENTS["anthropic blocks"]
    url = served(convert.to_stream(one.dialect, one.endpoint, one.body, usage=False), "text/event-stream")
    expected = await read_beta(served(one.body, "application/json"), stream=False)
    assert await read_beta(url, stream=True) == expected


async def test_a_stream_without_usage_is_taken_by_a_client_that_did_not_ask_for_it(served: Served) -> None:
    one = sample_responses.DOCUMENTS["openai tools"]
    stream = convert.to_stream(one.dialect, one.endpoint, one.body, usage=False, provider="openai")
    expected = await read_chat(served(one.body, "application/json"), stream=False)
    assert await read_chat(served(stream, "text/event-stream"), stream=True) == expected | {"usage": None}
