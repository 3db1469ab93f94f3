"""The providers' own SDKs get from the cache what they got from the provider, as a stream or whole; the rows say so."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.sdk_calls import CALLS, HELLO, Way, plain
from tests.support import servers
from tests.support.system import System

IGNORED = tuple(name for name in CALLS if name.startswith(("openai transcription", "openai images", "mistral ocr")))


class Cached(Way):
    """Through Metrion, asking for caching."""

    def __init__(self, system: System, namespace: str) -> None:
        super().__init__(system, through=True)
        self.headers |= {"x-metrion-cache": "true", "x-metrion-cache-namespace": namespace}


def stores(system: System) -> float:
    return system.gateway.metric("metrion_gateway_cache_stores_total")


def kept(system: System, before: float) -> None:
    """Wait until one more answer is kept than `before`."""
    servers.wait_for(lambda: stores(system) > before, "the answer in the cache")


@pytest.mark.parametrize("name", [name for name in CALLS if name not in IGNORED])
def test_an_sdk_gets_the_same_objects_from_the_cache_and_pays_nothing(metrion: System, name: str) -> None:
    call, tokens, cost = CALLS[name]
    way, before = Cached(metrion, name), stores(metrion)
    first = plain(call(way))
    kept(metrion, before)
    asked = len(metrion.provider.requests)
    assert plain(call(way)) == first
    assert len(metrion.provider.requests) == asked
    way.close()
    paid, hit = metrion.wait_for_rows(2, f"requester = '{way.user}'")
    assert (paid["cache"], hit["cache"]) == ("MISS", "HIT")
    assert (hit["input_tokens"], hit["output_tokens"], Decimal(hit["cost"])) == (0, 0, 0)
    assert (hit["saved_input_tokens"], Decimal(hit["cost_saved"])) == (tokens, Decimal(cost))
    assert Decimal(paid["cost"]) == Decimal(cost)


@pytest.mark.parametrize("name", IGNORED)
def test_uncacheable_calls_go_to_the_provider_each_time(metrion: System, name: str) -> None:
    call, way = CALLS[name][0], Cached(metrion, name)
    asked = len(metrion.provider.requests)
    assert plain(call(way)) == plain(call(way))
    way.close()
    assert len(metrion.provider.requests) == asked + 2
    assert [row["cache"] for row in metrion.wait_for_rows(2, f"requester = '{way.user}'")] == ["", ""]


PAIRS: dict[str, tuple[Any, Any]] = {
    # name → (whole, stream): calls that give (text, tool calls, input tokens)
    "openai chat": (
        lambda w: _chat(w.openai().chat.completions.create(model="gpt-4o-mini", messages=HELLO)),
        lambda w: _chat_stream(w.openai(), model="gpt-4o-mini"),
    ),
    "anthropic": (
        lambda w: _message(w.anthropic().messages.create(model="claude-sonnet-5-5", max_tokens=9, messages=HELLO)),
        lambda w: _message_stream(w.anthropic(), model="claude-sonnet-5-5"),
    ),
    "responses": (
        lambda w: _response(w.openai().responses.create(model="gpt-6.1-terra", input="x")),
        lambda w: _response_stream(w.openai(), model="gpt-6.1-terra"),
    ),
    "gemini": (
        lambda w: _gemini([w.gemini().models.generate_content(model="gemini-3.8-flash", contents="x")]),
        lambda w: _gemini(w.gemini().models.generate_content_stream(model="gemini-3.8-flash", contents="x")),
    ),
    "mistral": (
        lambda w: _chat(w.mistral().chat.complete(model="mistral-medium-3.5", messages=HELLO, http_headers=w.headers)),
        lambda w: _mistral_stream(
            w.mistral().chat.stream(model="mistral-medium-3.5", messages=HELLO, http_headers=w.headers)
        ),
    ),
}


@pytest.mark.parametrize("streamed_first", [True, False])
@pytest.mark.parametrize("name", PAIRS)
def test_an_sdk_gets_the_same_content_in_the_other_form(metrion: System, name: str, streamed_first: bool) -> None:
    whole, stream = PAIRS[name]
    first, second = (stream, whole) if streamed_first else (whole, stream)
    way, before = Cached(metrion, f"{name} {streamed_first}"), stores(metrion)
    got = first(way)
    kept(metrion, before)
    asked = len(metrion.provider.requests)
    assert second(way) == got
    assert len(metrion.provider.requests) == asked
    way.close()


def _chat(found: Any) -> tuple[Any, ...]:
    message = found.choices[0].message
    calls = [(call.function.name, call.function.arguments) for call in message.tool_calls or []]
    return message.content, calls, found.usage.prompt_tokens, found.choices[0].finish_reason


def _chat_stream(client: Any, *, model: str) -> tuple[Any, ...]:
    options = {"include_usage": True}
    with client.chat.completions.stream(model=model, messages=HELLO, stream_options=options) as stream:
        return _chat(stream.get_final_completion())


def _mistral_stream(stream: Any) -> tuple[Any, ...]:
    text, calls = "", []
    usage: Any = None
    reason: Any = None
    for event in stream:
        choice = event.data.choices[0]
        text += choice.delta.content or ""
        calls += [(call.function.name, call.function.arguments) for call in choice.delta.tool_calls or []]
        usage, reason = event.data.usage or usage, choice.finish_reason or reason
    return text, calls, usage.prompt_tokens, reason


def _message(found: Any) -> tuple[Any, ...]:
    return [block.model_dump(exclude_none=True) for block in found.content], found.usage.input_tokens, found.stop_reason


def _message_stream(client: Any, *, model: str) -> tuple[Any, ...]:
    with client.messages.stream(model=model, max_tokens=9, messages=HELLO) as stream:
        found = stream.get_final_message()
    return _message(found)


def _response(found: Any) -> tuple[Any, ...]:
    calls = [item.arguments for item in found.output if item.type == "function_call"]
    return found.output_text, calls, found.usage.input_tokens, found.status


def _response_stream(client: Any, *, model: str) -> tuple[Any, ...]:
    with client.responses.stream(model=model, input="x") as stream:
        for _ in stream:
            pass
        return _response(stream.get_final_response())


def _gemini(chunks: Any) -> tuple[Any, ...]:
    found = list(chunks)
    text = "".join(
        part.text for one in found for part in one.candidates[0].content.parts or [] if part.text and not part.thought
    )
    calls = [(call.name, call.args) for one in found for call in one.function_calls or []]
    return text, calls, found[-1].usage_metadata.prompt_token_count, found[-1].candidates[0].finish_reason


def test_logs_of_the_cache_hold_no_content(metrion: System, tmp_path: Path) -> None:
    way = Cached(metrion, "secret")
    way.openai().chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "marked-prompt"}])
    way.close()
    for log in metrion.folder.glob("*.log"):
        assert "marked-prompt" not in log.read_text()
