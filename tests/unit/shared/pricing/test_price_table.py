"""The ways in which a price table lies, and what must be unknown. Sums made by hand: test_price_cases.py."""

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shared import pricing
from shared.pricing import genai_prices
from shared.pricing.table import Override, Prices, Table
from shared.usage import Usage

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def price(
    provider: str, model: str, *, at: datetime = NOW, status: int = 200, endpoint: str = "POST /v1/x", **usage: Any
) -> pricing.CostColumns:
    given: dict[str, Any] = {"model": model, "source": "reported", "input": 0, "output": 0}
    used = msgspec.convert(given | usage, Usage)
    return pricing.price(used, provider=provider, endpoint=endpoint, model_requested="", status=status, at=at)


def tokens(found: Prices | str) -> dict[str, object]:
    """The token prices among all, which hold tools too."""
    assert isinstance(found, dict)
    return {unit: value for unit, value in found.items() if unit.endswith("_mtok")}


SONNET, HAIKU, OPUS = "claude-sonnet-5-5-20260901", "claude-haiku-4-5-20251001", "claude-opus-4-8"
TERRA = "gpt-6.1-terra-2026-10-26"


def test_the_date_of_the_prices_is_that_of_the_version_in_use() -> None:
    """`metrion_logger` alerts on old prices: a new version of the package needs its date in genai_prices.DATED."""
    assert genai_prices.DATED[0] == genai_prices.VERSION


def test_charge_stated_by_the_provider_wins_over_list_prices() -> None:
    found = price("grok", "grok-4.7", input=1200, output=350, provider_cost_usd=Decimal("0.0031"))
    assert (found.cost, found.cost_source) == (Decimal("0.0031"), "provider")


@pytest.mark.parametrize(
    ("provider", "model", "usage", "reason"),
    [
        ("openai", "gpt-99", {"input": 1}, "unknown_model"),
        ("openai", "", {"input": 1}, "unknown_model"),
        ("anthropic", "claude-opus-4-80", {"input": 1}, "unknown_model"),
        ("anthropic", "claude-sonnet-4-5-anything", {"input": 1}, "unknown_model"),
        ("openai", "my-moderation-model", {"input": 1}, "unknown_model"),
        ("gemini", "claude-opus-4-8", {"input": 1}, "unknown_model"),  # Google's prices for Anthropic's models are not these
        ("openai", "ft:gpt-99-2025-04-14:acme::x", {"input": 1}, "unknown_model"),
        ("openai", "ft:gpt-4.1-2025-04-14-mini:acme::x:y:z", {"input": 1}, "unknown_model"),
        ("acme", "gpt-4o", {"input": 1}, "unknown_model"),
        ("mistral", "mistral-medium", {"input": 1}, "disputed_price"),
        ("openai", "gpt-4o", {"audio_seconds": Decimal(3)}, "unpriced_unit:input_audio_hours"),
        ("openai", "whisper-1", {"input": 10}, "unpriced_unit:input_mtok"),
        ("openai", "gpt-4o", {"input": 10, "cache_write_30m": 5}, "unpriced_unit:cache_write_mtok"),
        ("openai", "gpt-6-luna", {"input": 10, "cache_write_12h": 5}, "unpriced_unit:cache_write_12h_mtok"),
        ("openai", "gpt-4o", {"input": 1, "tools": {"code_interpreter": 1}}, "unpriced_unit:code_interpreter_kcount"),
        ("anthropic", SONNET, {"input": 1, "tools": {"other_model": 1}}, "unpriced_unit:other_model_kcount"),
        ("anthropic", SONNET, {"input": 1, "geo": "mars"}, "unpriced_geo:mars"),
        ("openai", "gpt-4o-mini", {"input": 1, "service_tier": "Scale"}, "unpriced_tier:scale"),
        ("openai", TERRA, {"input": 300_000, "cache_write_12h": 5}, "unpriced_unit:cache_write_12h_mtok"),  # beyond the cliff
        ("openai", TERRA, {"input": 10, "cache_write_12h": 5, "service_tier": "flex"}, "unpriced_unit:cache_write_12h_mtok"),
        ("openai", "gpt-4o", {"input": 1, "tools": {"image_generation": 1}}, "unpriced_unit:image_generation_kcount"),
        ("openai", "gpt-4o-mini-tts", {"characters": 9}, "unpriced_unit:input_mchars"),
        ("openai", "gpt-4o", {"pages": 1}, "unpriced_unit:input_document_kpages"),
        ("openai", "gpt-transcribe", {"input": 1, "geo": "eu"}, "unpriced_geo:eu"),
        ("openai", "gpt-4o", {"input": 1, "speed": "fast", "service_tier": "flex"}, "unpriced_tier:flex"),  # no flex there
        ("openai", "dall-e-3", {"input": 1}, "unknown_model"),
        ("anthropic", SONNET, {"input": 1, "service_tier": "priority"}, "unpriced_tier:priority"),  # commitments
        ("anthropic", HAIKU, {"input": 1, "speed": "fast"}, "unpriced_tier:fast"),
        ("anthropic", SONNET, {"input": 1, "tools": {"fallback_credit": 1}}, "unpriced_unit:fallback_credit_kcount"),
        ("gemini", "gemma-3-27b-it", {"input": 1}, "unknown_model"),
        ("gemini", "gemma-3n", {"input": 1}, "unpriced_unit:input_mtok"),  # free there, so nobody says what it costs
        ("gemini", "gemini-3.8-flash", {"input": 1, "service_tier": "flex"}, "unpriced_tier:flex"),
        ("gemini", "gemini-2.5-flash", {"input": 1, "tools": {"google_maps": 1}}, "unpriced_unit:google_maps_kcount"),
        ("mistral", "voxtral-mini-9999", {"input": 1}, "unknown_model"),  # rows for its relatives do not make it known
        ("mistral", "mistral-ocr-2503", {"pages": 1, "annotated_pages": 1}, "unpriced_unit:input_annotated_document_kpages"),
        ("mistral", "mistral-moderation-latest", {"input": 1}, "unknown_model"),
        ("grok", "grok-4.7", {"input": 1, "tools": {"live_search": 1}}, "unpriced_unit:live_search_kcount"),
        ("grok", "grok-code-fast-1", {"input": 1}, "disputed_price"),
        ("openai", "gpt-4o", {"input": 1, "batch": True}, "batch"),
        ("openai", "gpt-4o", {"input": 1, "service_tier": "batch"}, "batch"),
        ("openai", "gpt-4o", {"input": None, "source": "partial"}, "broken_stream"),
        ("openai", "gpt-4o", {"input": None, "source": "absent"}, "usage_absent"),
    ],
)  # fmt: skip
def test_what_cannot_be_priced_is_unknown_and_never_zero(
    provider: str, model: str, usage: dict[str, Any], reason: str
) -> None:
    found = price(provider, model, **usage)
    assert (found.cost, found.cost_reason) == (None, reason)


FREE_WITHOUT_USAGE = (
    "POST /v1/messages/count_tokens",
    "POST /v1beta/models/{model}:countTokens",
    "POST /v1/moderations",
    "DELETE /v1/files/f",
    "POST /v1/files",
    "POST /upload/v1beta/files",
    "POST /v1/uploads/u/parts",
    "POST /v1/messages/batches",
    "POST /v1/batch/jobs",
    "POST /v1beta/models/{model}:batchGenerateContent",
)


@pytest.mark.parametrize("endpoint", FREE_WITHOUT_USAGE)
def test_a_free_endpoint_costs_nothing_unless_its_response_states_usage(endpoint: str) -> None:
    silent = price("anthropic", "", input=None, source="absent", endpoint=endpoint)
    assert (silent.cost, silent.cost_source) == (0, "free")
    assert price("anthropic", SONNET, input=5, endpoint=endpoint).cost == Decimal("0.00001")


@pytest.mark.parametrize(
    "endpoint",
    [
        "POST /v1/chat/completions#/files",
        "POST /v1/chat/completions#/moderations",
        "POST /v1/chat/completions;/files",
        "POST /v1/chat/completions/files/batches",
        "POST /v1/responses/input_tokens/..",
        "POST /v1/messages/x/count_tokens",
        "PUT /v1/chat/completions",
        "PATCH /v1/messages",
        "PATCH /v1/chat/completions/chatcmpl-1",
        "GET /v1/chat/completions",
        "GET /v1/messages",
        "GET /v1/responses",
        "GET /v1beta/models/{model}:generateContent",
        "DELETE /v1/responses",
        "BREW /v1/files",
        "POST",
        "",
    ],
)
def test_similar_paths_of_free_endpoints_are_priced(endpoint: str) -> None:
    assert price("anthropic", SONNET, input=5, endpoint=endpoint).cost == Decimal("0.00001")
    if not endpoint.startswith(("GET", "DELETE")):
        assert price("anthropic", "", input=None, source="absent", endpoint=endpoint).cost is None


@pytest.mark.parametrize(
    ("endpoint", "status"),
    [
        ("GET /v1/models", 200),
        ("GET /v1/messages/batches/b", 200),
        ("POST /v1/responses/resp_1/cancel", 200),
        ("POST /v1/chat/completions/chatcmpl-1", 200),  # changes a stored answer's metadata and repeats its usage
        ("GET /v1/responses/resp_1", 200),
        ("POST /v1/messages", 529),
        ("POST /v1/chat/completions", 302),
    ],
)
def test_lookups_and_errors_are_free_even_with_usage(endpoint: str, status: int) -> None:
    assert price("anthropic", SONNET, input=5, endpoint=endpoint, status=status).cost == 0


def test_a_batchs_results_are_unknown_whatever_could_be_read_of_them() -> None:
    found = price("anthropic", "", source="absent", endpoint="GET /v1/messages/batches/msgbatch_1/results")
    assert (found.cost, found.cost_reason) == (None, "batch")


@pytest.mark.parametrize(
    ("endpoint", "source", "cost"),
    [
        ("POST /v1/responses", "absent", None),  # queued
        ("GET /v1/responses/resp_1", "absent", Decimal(0)),  # not done yet
        ("GET /v1/responses/resp_1", "reported", None),  # each look says it again
        ("POST /v1/responses", "reported", Decimal("0.0015")),  # streamed to its end
    ],
)
def test_background_response_is_billed_once_or_marked_unknown(endpoint: str, source: str, cost: Decimal | None) -> None:
    found = price("openai", TERRA, input=1000, output=100, background=True, source=source, endpoint=endpoint)
    assert found.cost == cost
    assert found.cost_reason == ("background" if cost is None else "")


def test_each_sampling_is_priced_by_its_own_model_and_its_own_size() -> None:
    """Two samplings of 60,000 tokens are none of 120,000: Haiku 5.5 costs five times as much beyond 100,000."""
    half = Usage(source="reported", input_tokens=60_000, output_tokens=100)
    adviser = Usage(model=OPUS, source="reported", input_tokens=1000, output_tokens=0)
    found = price("anthropic", "claude-haiku-5-5", input=121_000, output=200, parts=(half, half, adviser))
    assert found.cost == Decimal("0.0171")  # (120000*0.1 + 200*0.5 + 1000*5) / 1e6
    assert found.unit_prices == {
        "input_mtok": Decimal("0.1"),
        "output_mtok": Decimal("0.5"),
        f"{OPUS}:input_mtok": Decimal(5),
    }
    lost = price(
        "anthropic", HAIKU, input=2, parts=(Usage(model="claude-unheard-of", source="reported", input_tokens=1),)
    )
    assert (lost.cost, lost.cost_reason) == (None, "unknown_model")


def test_an_operators_alias_region_and_tier_count(tmp_path: Path) -> None:
    own = tmp_path / "prices.toml"
    own.write_text(
        '[[alias]]\nprovider = "openai"\nmodel = "prod"\nmeans = "gpt-4o"\nsource = "us"\n'
        '[[multiplier]]\nprovider = "anthropic"\nmodel = "*"\ngeo = "us"\nfactor = "1.2"\nsource = "contract"\n'
        '[[price]]\nprovider = "openai"\nmodel = "gpt-4o"\nunit = "input_mtok"\ntier = "flex"\nprice = "1"\nsource = "x"\n'
    )
    table = Table.load(own)
    assert table.find("openai", "prod", at=NOW, context=("", "")) == table.find(
        "openai", "gpt-4o", at=NOW, context=("", "")
    )
    assert table.factor("anthropic", SONNET, geo="us") == Decimal("1.2")
    assert tokens(table.find("openai", "gpt-4o", at=NOW, context=("service_tier", "flex"))) == {
        "input_mtok": Decimal(1)
    }


@pytest.mark.parametrize("line", ['price = "cheap"', 'price = "-1"', "price = 1"])
def test_a_price_file_with_an_invalid_price_is_rejected(tmp_path: Path, line: str) -> None:
    own = tmp_path / "prices.toml"
    own.write_text(f'[[price]]\nprovider = "openai"\nmodel = "m"\nunit = "input_mtok"\nsource = "x"\n{line}\n')
    with pytest.raises((ValueError, ArithmeticError)):
        Table.load(own)


def test_without_a_model_in_the_response_the_one_asked_for_is_priced() -> None:
    used = Usage(source="reported", input_tokens=50, output_tokens=1056, output_image_tokens=1056)
    found = pricing.price(
        used,
        provider="openai",
        endpoint="POST /v1/images/generations",
        model_requested="gpt-image-2",
        status=200,
        at=NOW,
    )
    assert found.cost == Decimal("0.03193")


def test_price_lookups_of_unknown_models_use_bounded_memory() -> None:
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
    assert tokens(found) == {"input_mtok": Decimal(3)}
    found = table.find("openai", "gpt-4o", at=NOW, context=("", ""))
    assert isinstance(found, dict)
    assert found["input_mtok"] == Decimal(2)


def test_a_dated_row_holds_from_its_first_day_to_before_its_last() -> None:
    row = Override("openai", "m", "input_mtok", "x", "1", date(2026, 1, 1), date(2026, 2, 1))
    assert [
        row.applies("m", day) for day in (date(2025, 12, 31), date(2026, 1, 1), date(2026, 1, 31), date(2026, 2, 1))
    ] == [False, True, True, False]
