"""The providers' own SDKs must not notice Metrion: same objects, same exceptions; and each call is recorded."""

from decimal import Decimal

import anthropic
import openai
import pytest
from google.genai import errors as genai_errors
from mistralai.client import errors as mistral_errors

from tests.e2e.sdk_calls import CALLS, HELLO, Call, Way, plain
from tests.support.system import System


@pytest.mark.parametrize("name", CALLS)
def test_a_call_gives_the_same_objects_and_is_recorded_exactly(metrion: System, name: str) -> None:
    call, tokens, cost = CALLS[name]
    direct, through = Way(metrion, through=False), Way(metrion, through=True)
    assert plain(call(through)) == plain(call(direct))
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
def test_an_error_raises_the_same_exception_and_is_recorded(metrion: System, name: str) -> None:
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


async def test_async_clients_give_the_same_objects(metrion: System) -> None:
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


def test_row_is_stored_within_two_seconds_of_the_response(metrion: System) -> None:
    way = Way(metrion, through=True)
    mine = f"requester = '{way.user}'"
    for count in range(1, 6):
        CALLS["openai chat"][0](way)
        metrion.wait_for_rows(count, mine)  # nothing comes after it that would fill its batch
    way.close()
    rows = metrion.rows(mine, "dateDiff('millisecond', started_at, ingested_at) - latency_ms AS lag")
    assert min(row["lag"] for row in rows) < 2000, "however busy the machine is, one of five is not late"
