"""Usage that compatible servers state in their own way is never recorded too low as an exact cost."""

import json
from decimal import Decimal
from typing import Any

import pytest

from shared import events
from tests.support.priced_rows import chat, priced_row

CHAT: dict[str, Any] = {"endpoint": "POST /v1/chat/completions", "dialect": events.OPENAI_CHAT}
MESSAGES: dict[str, Any] = {
    "provider": "anthropic",
    "endpoint": "POST /v1/messages",
    "dialect": events.ANTHROPIC,
}
GENERATE: dict[str, Any] = {
    "provider": "gemini",
    "endpoint": "POST /v1beta/models/gemini-2.5-flash:generateContent",
    "dialect": events.GEMINI,
}


def test_reasoning_beyond_the_completion_is_counted_beside_it() -> None:
    body = chat("o3", 10, 5)
    body["usage"] |= {"total_tokens": 515, "completion_tokens_details": {"reasoning_tokens": 500}}
    found = priced_row(body, provider="openai", **CHAT)
    assert (found.output_tokens, found.cost) == (505, Decimal("0.00406"))  # (10*2 + 505*8) / 1e6


def test_thinking_that_shows_only_in_the_total_of_gemini_is_billed() -> None:
    usage = {"promptTokenCount": 900, "toolUsePromptTokenCount": 100, "totalTokenCount": 1096}
    body = {"candidates": [], "modelVersion": "gemini-2.5-flash", "usageMetadata": usage}
    found = priced_row(body, **GENERATE)
    assert (found.output_tokens, found.reasoning_tokens) == (96, 96)
    assert found.cost == Decimal("0.00054")  # (1000*0.30 + 96*2.50) / 1e6
    usage["candidatesTokenCount"] = 10
    assert priced_row(body, **GENERATE).output_tokens == 96


def test_cache_writes_stated_only_by_lifetime_are_billed() -> None:
    lifetimes = {"ephemeral_1h_input_tokens": 500, "ephemeral_5m_input_tokens": 100}
    usage = {"input_tokens": 1000, "output_tokens": 100, "cache_creation": lifetimes}
    found = priced_row({"model": "claude-opus-4-7", "usage": usage}, **MESSAGES)
    assert found.cost == Decimal("0.013125")  # (1000*5 + 500*10 + 100*6.25 + 100*25) / 1e6


@pytest.mark.parametrize("cost", ["0.5", -1, {"total_cost": 0.006}, True], ids=repr)
def test_a_stated_charge_that_cannot_be_read_is_not_replaced_by_a_list_price(cost: object) -> None:
    body = chat("gpt-4o", 1000, 10)
    body["usage"]["cost"] = cost
    found = priced_row(body, provider="openai", request={"stated_cost": "true"}, **CHAT)
    assert (found.cost, found.cost_reason) == (None, "unread:counts")


def test_a_call_on_the_callers_own_key_costs_what_both_charge() -> None:
    body = chat("openai/gpt-4o", 1000, 10)
    body["usage"] |= {"cost": 0.001, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.019}}
    about: dict[str, Any] = {"provider": "openrouter", "request": {"stated_cost": "true"}, **CHAT}
    found = priced_row(body, **about)
    assert (found.cost, found.cost_source) == (Decimal("0.02"), "provider")
    body["usage"]["cost_details"] = {"upstream_inference_cost": None}
    assert priced_row(body, **about).cost is None


@pytest.mark.parametrize("kind", ["", "text/plain; charset=utf-8", "text/json", "application/x-json"])
@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf", b"\n  "], ids=["plain", "mark", "space"])
def test_json_under_another_media_type_is_recorded_all_the_same(kind: str, before: bytes) -> None:
    body = before + json.dumps(chat("gpt-4o", 1000, 10)).encode()
    found = priced_row(body, provider="openai", kind=kind, **CHAT)
    assert found.cost == Decimal("0.0026")  # (1000*2.50 + 10*10) / 1e6


@pytest.mark.parametrize("text", [b"[Music] Hello", b"1\n00:00:00,000 --> 00:00:01,000\nHello", b""])
def test_plain_text_says_nothing_about_its_usage(text: bytes) -> None:
    about: dict[str, Any] = {
        "endpoint": "POST /v1/audio/transcriptions",
        "dialect": events.OPENAI_OTHER,
        "model": "whisper-1",
    }
    found = priced_row(text, provider="openai", kind="text/plain", **about)
    assert (found.cost, found.cost_reason) == (None, "usage_absent")


@pytest.mark.parametrize(
    ("queries", "billed"), [(["", "funding", "", "crowd"], 2), (["same", "same"], 1), (["", None], 0)]
)
def test_google_searches_are_billed_once_each_and_empty_ones_not_at_all(queries: list[object], billed: int) -> None:
    grounding = {"groundingMetadata": {"webSearchQueries": queries}}
    usage = {"promptTokenCount": 1000, "candidatesTokenCount": 10, "totalTokenCount": 1010}
    body = {"candidates": [grounding], "modelVersion": "gemini-3-pro-preview", "usageMetadata": usage}
    assert priced_row(body, **GENERATE).cost == Decimal("0.00212") + billed * Decimal("0.014")  # (1000*2 + 10*12) / 1e6


def test_pictures_without_a_split_are_no_text_at_the_price_of_text() -> None:
    usage = {"promptTokenCount": 10, "candidatesTokenCount": 1290, "totalTokenCount": 1300}
    found = priced_row({"candidates": [], "modelVersion": "gemini-2.5-flash-image", "usageMetadata": usage}, **GENERATE)
    assert found.cost == Decimal("0.038703")  # (10*0.30 + 1290*30) / 1e6
    assert (found.cost_source, found.cost_reason) == ("estimated", "estimated:output_kind")
    compatible = priced_row(chat("gemini-2.5-flash-image", 10, 1290), provider="gemini", **CHAT)
    assert (compatible.cost, compatible.cost_source) == (Decimal("0.038703"), "estimated")


@pytest.mark.parametrize(
    "more", [{"type": "novel", "input_tokens": 500, "output_tokens": 50}, {"type": "compaction", "input_tokens": 500}]
)
def test_unknown_or_uncounted_iterations_make_an_estimate(more: dict[str, object]) -> None:
    whole = {"input_tokens": 1000, "output_tokens": 100}
    body = {"model": "claude-opus-4-7", "usage": whole | {"iterations": [{"type": "message"} | whole, more]}}
    found = priced_row(body, **MESSAGES)
    assert (found.cost_source, found.cost_reason) == ("estimated", "estimated:iterations")


def gemini_body(model: str, **usage: object) -> dict[str, Any]:
    return {"candidates": [], "modelVersion": model, "usageMetadata": usage}


def tokens(kind: str, amount: int) -> dict[str, object]:
    return {"modality": kind, "tokenCount": amount}


@pytest.mark.parametrize(
    ("body", "cost"),
    [
        # What a tool fetched: (100*0.30 + 1000*1.00 + 10*2.50) / 1e6
        (
            gemini_body(
                "gemini-2.5-flash",
                promptTokenCount=100,
                toolUsePromptTokenCount=1000,
                candidatesTokenCount=10,
                toolUsePromptTokensDetails=[tokens("AUDIO", 1000)],
            ),
            "0.001055",
        ),
        # Beside sound in the prompt: (50*0.30 + 1050*1.00 + 10*2.50) / 1e6
        (
            gemini_body(
                "gemini-2.5-flash",
                promptTokenCount=100,
                toolUsePromptTokenCount=1000,
                candidatesTokenCount=10,
                promptTokensDetails=[tokens("AUDIO", 50), tokens("TEXT", 50)],
                toolUsePromptTokensDetails=[tokens("audio", 600), tokens("AUDIO", 400)],
            ),
            "0.00109",
        ),
        # Video beside text: (1000*0.20 + 1000*12) / 1e6
        (
            gemini_body(
                "gemini-embedding-2",
                promptTokenCount=2000,
                candidatesTokenCount=0,
                promptTokensDetails=[tokens("VIDEO", 1000), tokens("TEXT", 1000)],
            ),
            "0.0122",
        ),
        # The pages of a document are images: (1000*0.45 + 1000*0.20) / 1e6
        (
            gemini_body(
                "gemini-embedding-2",
                promptTokenCount=2000,
                candidatesTokenCount=0,
                promptTokensDetails=[tokens("DOCUMENT", 1000), tokens("TEXT", 1000)],
            ),
            "0.00065",
        ),
    ],
    ids=["fetched by a tool", "beside the prompt", "video", "document"],
)
def test_geminis_tokens_are_priced_by_their_modality_wherever_they_came_from(body: dict[str, Any], cost: str) -> None:
    found = priced_row(body, **GENERATE)
    assert (found.cost, found.cost_reason) == (Decimal(cost), "")


def test_an_interactions_tools_are_priced_by_modality() -> None:
    usage = {
        "total_input_tokens": 100,
        "total_tool_use_tokens": 1000,
        "total_output_tokens": 10,
        "tool_use_tokens_by_modality": [{"modality": "audio", "tokens": 1000}],
    }
    found = priced_row(
        {"model": "gemini-2.5-flash", "usage": usage}, **GENERATE | {"endpoint": "POST /v1beta/interactions"}
    )
    assert found.cost == Decimal("0.001055")  # (100*0.30 + 1000*1.00 + 10*2.50) / 1e6


@pytest.mark.parametrize(
    ("model", "names", "details", "cost"),
    [
        # (500*4 + 500*0.40 + 1000*32 + 1000*0.40) / 1e6
        ("gpt-realtime", "prompt", {"text_tokens": 1000, "audio_tokens": 2000, "cached": (500, 1000, 0)}, "0.0346"),
        ("gpt-realtime", "input", {"text_tokens": 1000, "audio_tokens": 2000, "cached": (500, 1000, 0)}, "0.0346"),
        # (1000*4 + 1000*5 + 1000*0.50) / 1e6
        ("gpt-realtime", "input", {"text_tokens": 1000, "image_tokens": 2000, "cached": (0, 0, 1000)}, "0.0095"),
        # (1000*5 + 500*8 + 500*2) / 1e6
        ("gpt-image-1.5", "input", {"text_tokens": 1000, "image_tokens": 1000, "cached": (0, 0, 500)}, "0.01"),
    ],
)
def test_cached_tokens_are_priced_by_the_modality_that_openai_states(
    model: str, names: str, details: dict[str, Any], cost: str
) -> None:
    kinds = dict(zip(("text_tokens", "audio_tokens", "image_tokens"), details.pop("cached"), strict=True))
    details |= {"cached_tokens": sum(kinds.values()), "cached_tokens_details": kinds}
    total = sum(details.get(kind, 0) for kind in kinds)
    chats = {"prompt_tokens": total, "completion_tokens": 0, "prompt_tokens_details": details}
    others = {"input_tokens": total, "output_tokens": 0, "input_tokens_details": details}
    body = {"model": model, "usage": chats if names == "prompt" else others}
    about = CHAT if names == "prompt" else {"endpoint": "POST /v1/responses", "dialect": events.OPENAI_RESPONSES}
    found = priced_row(body, provider="openai", **about)
    assert (found.cost, found.cost_reason) == (Decimal(cost), "")
