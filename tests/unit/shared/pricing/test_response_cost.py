"""Answers as they come, recorded to the cent: from the bytes over tap, dialect and prices to the row's cost."""

from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

import pytest

from shared import events
from tests.support.priced_rows import (
    CHAT,
    GENERATE,
    GROK,
    MISTRAL,
    NEW,
    OPENAI,
    SEARCH,
    Model,
    chat,
    message,
    priced_row,
    responses,
    sse,
)

PICTURE = {"type": "image_generation_call", "status": "completed", "result": "A" * 9_500_000}
IMAGE_GEN = {
    "input_tokens": 210,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 210},
    "output_tokens": 7024,
    "output_tokens_details": {"image_tokens": 7024, "text_tokens": 0},
    "total_tokens": 7234,
}
IMAGE_TOOL = [{"type": "image_generation", "model": "gpt-image-2", "size": "auto"}]
LONG = 'a text with "quotes", \\ and ümlauts\n' * 260_000


class Case(NamedTuple):
    """`sum`: the arithmetic, in USD and tokens a million unless it divides by something else."""

    name: str
    body: object
    about: dict[str, Any]
    cost: str
    sum: str
    source: str = "computed"


LARGE = [
    Case("a large answer's searches", responses("gpt-4.1", 318, 540, output=[SEARCH] * 5 + [message(LONG)]), OPENAI, "0.054956", "(318*2 + 540*8) / 1e6 + 5*10/1000"),
    Case("a large answer's tier", responses("gpt-5.4", 1000, 1000, output=[message(LONG)], service_tier="priority"), OPENAI, "0.035", "(1000*5 + 1000*30) / 1e6"),
    Case(
        "a large last event's searches",
        sse(
            {"type": "response.created", "response": {"model": "gpt-4.1", "status": "in_progress"}},
            {"type": "response.completed", "response": responses("gpt-4.1", 318, 540, output=[SEARCH] * 5 + [message(LONG[:1_700_000])])},
        ),
        OPENAI | {"kind": "text/event-stream"},
        "0.054956",
        "(318*2 + 540*8) / 1e6 + 5*10/1000",
    ),
    Case("a large picture", responses("gpt-5.5", 1820, 210, output=[PICTURE], tools=IMAGE_TOOL, tool_usage={"image_gen": IMAGE_GEN}), OPENAI, "0.22717", "(1820*5 + 210*30 + 210*5 + 7024*30) / 1e6"),
]  # fmt: skip

TOOLS = [
    Case("an image tool named in the answer", responses("gpt-5.5", 1820, 210, tools=IMAGE_TOOL, tool_usage={"image_gen": IMAGE_GEN}), OPENAI, "0.22717", "(1820*5 + 210*30 + 210*5 + 7024*30) / 1e6"),
    Case("an image tool of an assumed model", responses("gpt-5.5", 1820, 210, tool_usage={"image_gen": IMAGE_GEN}), OPENAI, "0.22717", "(1820*5 + 210*30 + 210*5 + 7024*30) / 1e6", "estimated"),
    Case("an image tool named in the request", responses("gpt-5.5", 1820, 210, tool_usage={"image_gen": IMAGE_GEN}), OPENAI | {"request": {"tools": '[{"type":"image_generation","model":"gpt-image-1"}]'}}, "0.29741", "(1820*5 + 210*30 + 210*5 + 7024*40) / 1e6"),
    Case("a preview search", responses("gpt-4.1", 318, 540, output=[SEARCH], tools=[{"type": "web_search_preview"}]), OPENAI, "0.029956", "(318*2 + 540*8) / 1e6 + 25/1000"),
    Case("a dated preview search", responses("gpt-4.1", 318, 540, output=[SEARCH], tools=[{"type": "web_search_preview_2025_03_11"}]), OPENAI, "0.029956", "(318*2 + 540*8) / 1e6 + 25/1000"),
    Case("a preview search that only the request names", responses("gpt-4.1", 318, 540, output=[SEARCH]), OPENAI | {"request": {"tools": '[{"type":"web_search_preview"}]'}}, "0.029956", "(318*2 + 540*8) / 1e6 + 25/1000"),
    Case("a reasoning model's preview search", responses("gpt-5", 1000, 100, output=[SEARCH], tools=[{"type": "web_search_preview"}]), OPENAI, "0.01225", "(1000*1.25 + 100*10) / 1e6 + 10/1000"),
    Case("searches that only tool_usage counts", responses("gpt-4.1", 318, 540, tool_usage={"web_search": {"num_requests": 5}}), OPENAI, "0.054956", "(318*2 + 540*8) / 1e6 + 5*10/1000"),
    Case("a search model", chat("gpt-4o-mini-search-preview", 9, 300), OPENAI | CHAT, "0.02518135", "(9*0.15 + 300*0.60) / 1e6 + 25/1000"),
    Case("a dated search model", chat("gpt-4o-search-preview-2025-03-11", 9, 300), OPENAI | CHAT, "0.0280225", "(9*2.50 + 300*10) / 1e6 + 25/1000"),
    Case("code in one container", responses("gpt-4.1", 318, 540, output=[{"type": "code_interpreter_call", "container_id": "c"}] * 3), OPENAI, "0.034956", "(318*2 + 540*8) / 1e6 + 0.03", "estimated"),
    Case("code in two containers", responses("gpt-4.1", 318, 540, output=[{"type": "code_interpreter_call", "container_id": name} for name in "ab"]), OPENAI, "0.064956", "(318*2 + 540*8) / 1e6 + 2*0.03", "estimated"),
]  # fmt: skip

CACHED = [
    Case("a cached image", chat("grok-4.6", 2461, 303, prompt={"text_tokens": 1319, "image_tokens": 1142, "cached_tokens": 2432}), GROK, "0.003092", "(29*2 + 2432*0.50 + 303*6) / 1e6"),
    Case("cached sound without a price of its own", chat("gpt-audio", 1200, 100, prompt={"text_tokens": 200, "audio_tokens": 1000, "cached_tokens": 1024}), OPENAI | CHAT, "0.0335", "(200*2.50 + 1000*32 + 100*10) / 1e6"),
    Case(
        "cached sound of unknown share",
        {"modelVersion": "gemini-3-flash-preview", "candidates": [{"finishReason": "STOP"}], "usageMetadata": {"promptTokenCount": 12000, "cachedContentTokenCount": 11000, "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 11800}, {"modality": "TEXT", "tokenCount": 200}]}},
        GENERATE,
        "0.00209",
        "(200*0.05 + 10800*0.10 + 1000*1) / 1e6",
        "estimated",
    ),
    Case("a fine-tuned model's cache", chat("ft:gpt-4o-2024-08-06:acme::x1", 10_000, 1000, prompt={"cached_tokens": 8000}), OPENAI | CHAT, "0.0375", "(2000*3.75 + 8000*1.875 + 1000*15) / 1e6"),
    Case("a fine-tuned mini's cache", chat("ft:gpt-4o-mini-2024-07-18:acme::x1", 10_000, 1000, prompt={"cached_tokens": 8000}), OPENAI | CHAT, "0.0030", "(2000*0.30 + 8000*0.15 + 1000*1.20) / 1e6"),
    Case("a checkpoint", chat("ft:gpt-4o-mini-2024-07-18:acme::x1:ckpt-step-500", 10_000, 1000, prompt={"cached_tokens": 8000}), OPENAI | CHAT, "0.0030", "(2000*0.30 + 8000*0.15 + 1000*1.20) / 1e6"),
    Case("another base", chat("ft:gpt-4.1-mini-2025-04-14:acme:bot:x1", 10_000, 1000, prompt={"cached_tokens": 8000}), OPENAI | CHAT, "0.0064", "(2000*0.80 + 8000*0.20 + 1000*3.20) / 1e6"),
    Case("a reasoning base's checkpoint", chat("ft:o4-mini-2025-04-16:acme::x1:ckpt-step-9", 10_000, 1000, prompt={"cached_tokens": 8000}), OPENAI | CHAT, "0.032", "(2000*4 + 8000*1 + 1000*16) / 1e6"),
    Case("ft:gpt-4.1", chat("ft:gpt-4.1-2025-04-14:acme::x1", 10_000, 1000, prompt={"cached_tokens": 8000}), OPENAI | CHAT, "0.024", "(2000*3 + 8000*0.75 + 1000*12) / 1e6"),
]  # fmt: skip

OTHER = [
    Case("a long flex request", responses("gpt-5.5-pro", 300_000, 1000, service_tier="flex"), OPENAI, "9.135", "(300000*30 + 1000*135) / 1e6"),
    Case("a short flex request", responses("gpt-5.5-pro", 272_000, 1000, service_tier="flex"), OPENAI, "4.17", "(272000*15 + 1000*90) / 1e6"),
    Case(
        "an embedded picture",
        {"embedding": {"values": [0.1]}, "usageMetadata": {"promptTokenCount": 263, "promptTokenDetails": [{"modality": "TEXT", "tokenCount": 5}, {"modality": "IMAGE", "tokenCount": 258}]}},
        GENERATE | {"endpoint": "POST /v1beta/models/{model}:embedContent", "model": "gemini-embedding-2"},
        "0.0001171",
        "(5*0.20 + 258*0.45) / 1e6",
    ),
    Case("sound on a retired preview", chat("gpt-4o-audio-preview-2024-12-17", 120, 60, prompt={"text_tokens": 20, "audio_tokens": 100}), OPENAI | CHAT, "0.00465", "(20*2.50 + 100*40 + 60*10) / 1e6"),
    Case("Claude Sonnet 4", {"model": "claude-sonnet-4-20250514", "type": "message", "usage": {"input_tokens": 1000, "output_tokens": 100}}, {"provider": "anthropic", "dialect": events.ANTHROPIC, "endpoint": "POST /v1/messages"}, "0.0045", "(1000*3 + 100*15) / 1e6"),
    Case("Claude 2.1", {"model": "claude-2.1", "type": "message", "usage": {"input_tokens": 1000, "output_tokens": 100}}, {"provider": "anthropic", "dialect": events.ANTHROPIC, "endpoint": "POST /v1/messages"}, "0.0104", "(1000*8 + 100*24) / 1e6"),
    Case("code that Anthropic runs", {"model": "claude-opus-4-8", "type": "message", "usage": {"input_tokens": 1000, "output_tokens": 100, "server_tool_use": {"code_execution_requests": 2}}}, {"provider": "anthropic", "dialect": events.ANTHROPIC, "endpoint": "POST /v1/messages"}, "0.0075", "(1000*5 + 100*25) / 1e6", "estimated"),
    Case("Gemini 1.5 Flash-8B", {"modelVersion": "gemini-1.5-flash-8b-001", "usageMetadata": {"promptTokenCount": 1000, "candidatesTokenCount": 100}}, GENERATE, "0.0000525", "(1000*0.0375 + 100*0.15) / 1e6"),
    Case("Magistral Medium", chat("magistral-medium-latest", 1000, 100), MISTRAL, "0.0025", "(1000*2 + 100*5) / 1e6"),
    Case("Mistral Large 4", chat("mistral-large-4", 1_000_000, 100_000), MISTRAL, "0.91", "(1000000*0.70 + 100000*2.10) / 1e6"),
    Case("Mistral Large 4 by its other name", chat("mistral-large-4-0", 1_000_000, 100_000), MISTRAL, "0.91", "(1000000*0.70 + 100000*2.10) / 1e6"),
]  # fmt: skip


@pytest.mark.parametrize("case", [*LARGE, *TOOLS, *CACHED, *OTHER], ids=lambda case: case.name)
def test_a_response_costs_what_a_hand_computes(case: Case) -> None:
    found = priced_row(case.body, **case.about)
    assert (found.cost, found.cost_source) == (Decimal(case.cost), case.source), (
        found.cost_reason,
        found.usage,
        case.sum,
    )
    assert sum(found.cost_by_class.values()) == found.cost
    assert found.usage_source == ("reported" if case.source == "computed" else "estimated"), (
        "sums tell estimates by this"
    )


@pytest.mark.parametrize("case", NEW, ids=lambda case: f"{case.model} {case.tokens[0]} {case.tier} {case.day}")
def test_models_newer_than_the_library_have_their_price(case: Model) -> None:
    sent, cached, written, made = case.tokens
    at = datetime.fromisoformat(f"{case.day}T23:59:59+00:00")
    if case.provider == "gemini":
        usage = {"promptTokenCount": sent, "cachedContentTokenCount": cached, "candidatesTokenCount": made}
        body: dict[str, Any] = {"modelVersion": case.model, "usageMetadata": usage}
        found = priced_row(body, **GENERATE, headers={"x-gemini-service-tier": case.tier}, at=at)
    elif case.provider == "anthropic":
        body = {"model": case.model, "usage": {"input_tokens": sent, "output_tokens": made}}
        found = priced_row(body, provider="anthropic", dialect=events.ANTHROPIC, endpoint="POST /v1/messages", at=at)
    else:
        details = {"cached_tokens": cached, "cache_write_tokens": written}
        body = chat(case.model, sent, made, prompt=details, service_tier=case.tier or "default")
        found = priced_row(body, provider=case.provider, **CHAT, at=at)
    assert (found.cost, found.cost_source) == (Decimal(case.cost), "computed"), (found.cost_reason, case.sum)
