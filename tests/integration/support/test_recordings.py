"""A recording must be what its provider's own SDK has types for, else tests prove something about no provider."""

import functools
from typing import Any

import msgspec
import pytest
from pydantic import TypeAdapter

from services.gateway.parsing import sse
from shared import events
from tests.support import sample_responses
from tests.support.sample_responses import SampleResponse

RECORDED = {
    name: one
    for name, one in (sample_responses.DOCUMENTS | sample_responses.STREAMS | sample_responses.ARRAYS).items()
    if "/" in name
}


@functools.cache
def sdk_types() -> dict[str, tuple[Any, Any]]:
    """Each SDK's types of a document and of an event, by dialect; importing them takes seconds."""
    from anthropic.types.beta import BetaMessage, BetaRawMessageStreamEvent
    from google.genai.types import GenerateContentResponse
    from mistralai.client.models import ChatCompletionResponse, CompletionChunk
    from openai.types.chat import ChatCompletion, ChatCompletionChunk
    from openai.types.responses import Response, ResponseStreamEvent

    return {
        events.ANTHROPIC: (BetaMessage, BetaRawMessageStreamEvent),
        events.OPENAI_CHAT: (ChatCompletion, ChatCompletionChunk),
        events.OPENAI_RESPONSES: (Response, ResponseStreamEvent),
        events.GEMINI: (GenerateContentResponse, GenerateContentResponse),
        "mistral": (ChatCompletionResponse, CompletionChunk),
    }


def pieces(one: SampleResponse) -> list[bytes]:
    """The data of an answer's events; of a document the whole."""
    if one.body.startswith(b"["):
        return [bytes(chunk) for chunk in msgspec.json.decode(one.body, type=list[msgspec.Raw])]
    return [data for data in sse.datas(one.body) if data != sse.DONE and b'"ping"' not in data] or [one.body]


@pytest.mark.parametrize("name", RECORDED)
def test_a_recording_is_what_the_sdks_types_say(name: str) -> None:
    one = RECORDED[name]
    document, event = sdk_types()["mistral" if one.provider == "mistral" else one.dialect]
    kind: TypeAdapter[Any] = TypeAdapter(event if name.endswith(".sse") else document)
    for data in pieces(one):
        if one.provider == "grok":  # which writes OpenAI's dialect and bills no writes to a cache
            data = data.replace(b'"cached_tokens"', b'"cache_write_tokens": 0, "cached_tokens"')
        kind.validate_json(data)
