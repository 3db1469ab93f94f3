"""Costs against sums made by hand, and the ways in which a price table lies."""

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from shared import pricing
from shared.pricing.table import Override, Table
from shared.usage import Usage

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def price(
    provider: str, model: str, *, at: datetime = NOW, status: int = 200, endpoint: str = "POST /v1/x", **usage: Any
) -> pricing.Price:
    used = Usage(**{"model": model, "source": "reported", "input": 0, "output": 0} | usage)
    return pricing.price(used, provider=provider, endpoint=endpoint, model_requested="", status=status, at=at)


SONNET, HAIKU, OPUS = "claude-sonnet-5-5-20260901", "claude-haiku-4-5-20251001", "claude-opus-4-8"
TERRA, MINI, FLASH = "gpt-6.1-terra-2026-10-26", "gpt-4o-mini-2024-07-18", "gemini-3.8-flash"

# USD per million tokens from the providers' price pages, by hand: (tokens × price + …) / 1,000,000
BY_HAND = [
    # Sonnet 5.5: 2 in, 10 out, read 0.10 (0.20 before 2026-10-07), write 2.50, 1 h write 4
    ("anthropic", SONNET, {"input": 6169, "cache_read": 4096, "cache_write_5m": 2048, "output": 47}, "0.0060496"),
    ("anthropic", SONNET, {"input": 6169, "cache_read": 4096, "cache_write_5m": 2048, "output": 47, "at": datetime(2026, 10, 6, 23, 59, tzinfo=UTC)}, "0.0064592"),
    ("anthropic", SONNET, {"input": 1000, "cache_write_1h": 400, "output": 100}, "0.0038"),
    ("anthropic", SONNET, {"input": 1000, "output": 100, "geo": "us"}, "0.0033"),  # × 1.1
    ("anthropic", SONNET, {"input": 1000, "output": 100, "tools": {"web_search": 3, "web_fetch": 9}}, "0.033"),  # $10 a thousand; fetches free
    ("anthropic", SONNET, {"input": 1000, "output": 100, "geo": "us", "tools": {"web_search": 1}}, "0.0133"),  # the region does not make a search dearer
    ("anthropic", HAIKU, {"input": 472, "output": 89}, "0.000917"),  # 1 / 5
    ("anthropic", OPUS, {"input": 1000, "output": 100}, "0.0075"),  # 5 / 25
    ("anthropic", OPUS, {"input": 1000, "output": 100, "speed": "fast"}, "0.015"),  # 10 / 50
    ("openai", MINI, {"input": 26, "output": 9}, "0.0000093"),  # 0.15 / 0.60
    ("openai", "gpt-4o", {"input": 1000, "cache_read": 400, "output": 100}, "0.003"),  # 2.50, 1.25, 10
    ("openai", "gpt-4o", {"input": 1000, "cache_read": 400, "output": 100, "service_tier": "priority"}, "0.0051"),  # 4.25, 2.125, 17
    # Terra: 1, read 0.05, 30 min write 1.25, 12 h write 2.50, out 5, search $10 a thousand
    ("openai", TERRA, {"input": 9100, "cache_read": 4096, "cache_write_30m": 1024, "cache_write_12h": 1024, "output": 310, "tools": {"web_search": 1}}, "0.0185508"),
    ("openai", TERRA, {"input": 1000, "output": 100, "service_tier": "flex"}, "0.00075"),  # half
    ("openai", TERRA, {"input": 272_000, "output": 1000}, "0.277"),
    ("openai", TERRA, {"input": 272_001, "output": 1000}, "0.551502"),  # beyond 272k all of it is 2 / 7.50
    ("openai", "text-embedding-3-small", {"input": 12}, "0.00000024"),  # 0.02
    ("openai", "gpt-image-2", {"input": 50, "output": 1056, "output_image": 1056}, "0.03193"),  # 5 / 30
    ("openai", "whisper-1", {"input": None, "output": None, "audio_seconds": Decimal(9)}, "0.0009"),  # 0.006 a minute
    ("gemini", FLASH, {"input": 5300, "cache_read": 4096, "output": 420}, "0.0027852"),  # 0.75, 0.075, 3.75 until 2027
    ("gemini", FLASH, {"input": 1000, "output": 100, "at": datetime(2027, 1, 2, tzinfo=UTC)}, "0.00225"),  # 1.50 / 7.50 then
    ("gemini", FLASH, {"input": 31, "output": 96, "tools": {"google_search": 2}}, "0.02838325"),  # $14 a thousand
    ("gemini", "gemini-2.5-flash", {"input": 1000, "output": 100}, "0.00055"),  # 0.30 / 2.50
    ("gemini", "models/gemini-2.5-pro", {"input": 100_000, "output": 1000}, "0.135"),  # 1.25 / 10
    ("gemini", "gemini-2.5-pro", {"input": 300_000, "output": 1000}, "0.765"),  # beyond 200k 2.50 / 15
    ("mistral", "mistral-medium-3.5", {"input": 1040, "cache_read": 896, "output": 12}, "0.0004404"),  # 1.50, 0.15, 7.50
    ("mistral", "codestral-latest", {"input": 9, "output": 8}, "0.0000099"),  # 0.30 / 0.90
    ("mistral", "mistral-embed", {"input": 11}, "0.0000011"),  # 0.10
    ("mistral", "mistral-large-latest", {"input": 1000, "output": 100}, "0.00065"),  # 0.50 / 1.50
    ("grok", "grok-4.7", {"input": 1200, "cache_read": 1000, "output": 350}, "0.003"),  # 2, 0.50, 6: what xAI itself charged
    ("grok", "grok-4.7", {"input": 1000, "output": 100, "tools": {"web_search": 2}}, "0.0126"),  # $5 a thousand
]  # fmt: skip


@pytest.mark.parametrize(("provider", "model", "usage", "expected"), BY_HAND)
def test_the_cost_is_what_a_hand_computes(provider: str, model: str, usage: dict[str, Any], expected: str) -> None:
    found = price(provider, model, **usage)
    assert found.cost == Decimal(expected), found
    assert sum(found.cost_by_class.values()) == found.cost
    assert found.source == "computed"
    assert found.unit_prices


def test_what_the_provider_says_it_charged_beats_our_sum() -> None:
    found = price("grok", "grok-4.7", input=1200, output=350, provider_cost_usd=Decimal("0.0031"))
    assert (found.cost, found.source) == (Decimal("0.0031"), "provider")


@pytest.mark.parametrize(
    ("provider", "model", "usage", "reason"),
    [
        ("openai", "gpt-99", {"input": 1}, "unknown_model"),
        ("openai", "", {"input": 1}, "unknown_model"),
        ("anthropic", "claude-opus-4-80", {"input": 1}, "unknown_model"),
        ("anthropic", "claude-sonnet-4-5-anything", {"input": 1}, "unknown_model"),
        ("openai", "my-moderation-model", {"input": 1}, "unknown_model"),
        ("gemini", "claude-opus-4-8", {"input": 1}, "unknown_model"),  # Google's prices for Anthropic's models are not these
        ("openai", "ft:gpt-4.1-2025-04-14:acme::x", {"input": 1}, "unknown_model"),
        ("acme", "gpt-4o", {"input": 1}, "unknown_model"),
        ("mistral", "magistral-medium-latest", {"input": 1}, "disputed_price"),
        ("openai", "gpt-4o", {"audio_seconds": Decimal(3)}, "unpriced_unit:input_audio_hours"),
        ("openai", "whisper-1", {"input": 10}, "unpriced_unit:input_mtok"),
        ("openai", "gpt-4o", {"input": 10, "cache_write_30m": 5}, "unpriced_unit:cache_write_mtok"),
        ("openai", "gpt-6-luna", {"input": 10, "cache_write_12h": 5}, "unpriced_unit:cache_write_12h_mtok"),
        ("openai", "gpt-4o", {"input": 1, "tools": {"code_interpreter": 1}}, "unpriced_unit:code_interpreter_kcount"),
        ("anthropic", SONNET, {"input": 1, "tools": {"other_model": 1}}, "unpriced_unit:other_model_kcount"),
        ("anthropic", SONNET, {"input": 1, "geo": "mars"}, "unpriced_geo:mars"),
        ("openai", "gpt-4o-mini", {"input": 1, "service_tier": "Scale"}, "unpriced_tier:scale"),
        ("openai", "gpt-4o", {"input": 1, "batch": True}, "batch"),
        ("openai", "gpt-4o", {"input": None, "source": "partial"}, "broken_stream"),
        ("openai", "gpt-4o", {"input": None, "source": "absent"}, "usage_absent"),
    ],
)  # fmt: skip
def test_what_cannot_be_priced_is_unknown_and_never_zero(
    provider: str, model: str, usage: dict[str, Any], reason: str
) -> None:
    found = price(provider, model, **usage)
    assert (found.cost, found.reason) == (None, reason)


@pytest.mark.parametrize(
    ("endpoint", "status"),
    [
        ("POST /v1/messages/count_tokens", 200),
        ("POST /v1beta/models/{model}:countTokens", 200),
        ("POST /v1/moderations", 200),
        ("GET /v1/models", 200),
        ("GET /v1/responses/resp_1", 200),
        ("POST /v1/messages", 529),
        ("POST /v1/chat/completions", 302),
    ],
)
def test_free_endpoints_and_errors_cost_nothing(endpoint: str, status: int) -> None:
    assert price("anthropic", SONNET, input=5, endpoint=endpoint, status=status).cost == 0


def test_without_a_model_in_the_answer_the_one_asked_for_is_priced() -> None:
    used = Usage(source="reported", input=50, output=1056, output_image=1056)
    found = pricing.price(
        used,
        provider="openai",
        endpoint="POST /v1/images/generations",
        model_requested="gpt-image-2",
        status=200,
        at=NOW,
    )
    assert found.cost == Decimal("0.03193")


def test_names_from_outside_do_not_fill_the_memory() -> None:
    table = Table.load(None)
    for number in range(5000):
        assert table.find("openai", f"invented-{number}", at=NOW, context=("", "")) == "unknown_model"
    assert table._find.cache_info().currsize <= 4096


def test_an_operators_file_adds_and_overrides_prices(tmp_path: Path) -> None:
    own = tmp_path / "prices.toml"
    own.write_text(
        '[[price]]\nprovider = "openai"\nmodel = "ft:gpt-4.1*"\nunit = "input_mtok"\nprice = "3"\nsource = "contract"\n'
        '[[price]]\nprovider = "openai"\nmodel = "gpt-4o"\nunit = "input_mtok"\nprice = "2"\nsource = "contract"\n'
    )
    table = Table.load(own)
    assert table.version != Table.default().version
    found = table.find("openai", "ft:gpt-4.1:acme", at=NOW, context=("", ""))
    assert found == {"input_mtok": Decimal(3)}
    found = table.find("openai", "gpt-4o", at=NOW, context=("", ""))
    assert isinstance(found, dict)
    assert found["input_mtok"] == Decimal(2)


def test_a_dated_row_holds_from_its_first_day_to_before_its_last() -> None:
    row = Override("openai", "m", "input_mtok", "x", "1", date(2026, 1, 1), date(2026, 2, 1))
    assert [
        row.applies("m", day) for day in (date(2025, 12, 31), date(2026, 1, 1), date(2026, 1, 31), date(2026, 2, 1))
    ] == [False, True, True, False]
