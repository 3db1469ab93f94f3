"""Batches at their own rate: sums made by hand from the providers' price pages."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from shared import pricing
from shared.pricing import batch_rate
from shared.pricing.table import Table
from shared.usage import Usage

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def price(provider: str, model: str, **usage: Any) -> pricing.CostColumns:
    used = msgspec.convert({"model": model, "source": "reported", "batch": True, **usage}, Usage)
    return batch_rate.price(used, provider=provider, at=NOW, table=Table.default())


@pytest.mark.parametrize(
    ("provider", "model", "usage", "expected"),
    [
        ("openai", "gpt-4o-mini-2024-07-18", {"input": 300, "output": 40}, "0.0000345"),  # 0.075 / 0.30
        ("anthropic", "claude-sonnet-4-5-20250929", {"input": 1000, "output": 100}, "0.00225"),  # 1.50 / 7.50
        (
            "anthropic",
            "claude-sonnet-4-5-20250929",
            {"input": 1000, "cache_read": 400, "output": 0},
            "0.00096",
        ),  # read 0.15
        ("gemini", "gemini-2.5-flash", {"input": 1_000_000, "output": 1_000_000}, "1.40"),  # 0.15 / 1.25
        # 0.75 / 0.0375 / 3.75, and 1 / 5 until the end of November
        ("gemini", "gemini-4-hydrogen", {"input": 10_000, "cache_read": 4000, "output": 500}, "0.006525"),
        ("gemini", "gemini-4-carbon", {"input": 10_000, "output": 500}, "0.0125"),
    ],
)
def test_a_batch_costs_what_a_hand_computes(provider: str, model: str, usage: dict[str, int], expected: str) -> None:
    found = price(provider, model, **usage)
    assert (found.cost, found.cost_source) == (Decimal(expected), "computed"), found
    assert sum(found.cost_by_class.values()) == found.cost


def test_a_sum_that_could_hold_long_requests_is_an_estimate_at_the_usual_price() -> None:
    short = price("gemini", "gemini-2.5-pro", input=100_000, output=1000)
    long = price("gemini", "gemini-2.5-pro", input=1_000_000, output=10_000)
    assert (short.cost_source, short.cost_reason) == ("computed", "")
    assert (long.cost_source, long.cost_reason) == ("estimated", "estimated:tier")
    assert short.cost is not None and long.cost == short.cost * 10, "ten short requests, for all that can be told"


def test_models_that_share_a_batch_are_each_priced_at_their_own_rate() -> None:
    sonnet = Usage(model="claude-sonnet-4-5-20250929", input_tokens=1000, output_tokens=100)  # 1.50 / 7.50 a million
    haiku = Usage(model="claude-haiku-4-5-20251001", input_tokens=2000, output_tokens=200)  # 0.50 / 2.50
    found = price("anthropic", "", input=3000, output=300, parts=(sonnet, haiku))
    assert (found.cost, found.cost_source) == (Decimal("0.00225") + Decimal("0.0015"), "computed")
    assert found.unit_prices["claude-haiku-4-5-20251001:output_mtok"] == Decimal("2.5")
    assert sum(found.cost_by_class.values()) == found.cost
    strange = msgspec.structs.replace(haiku, model="no-such-model")
    assert price("anthropic", "", input=3000, output=300, parts=(sonnet, strange)).cost is None, "half a cost is none"


@pytest.mark.parametrize(("source", "reason"), [("partial", "broken_stream"), ("absent", "usage_absent")])
def test_a_batch_whose_usage_is_incomplete_has_no_known_cost(source: str, reason: str) -> None:
    found = price("openai", "gpt-4o-mini-2024-07-18", source=source, input=10, output=1)
    assert (found.cost, found.cost_source, found.cost_reason) == (None, "none", reason)


def test_batch_without_a_batch_price_has_unknown_cost() -> None:
    for provider, model in (("openai", "no-such-model"), ("openai", ""), ("anthropic", "gpt-4o")):
        found = price(provider, model, input=10, output=1)
        assert (found.cost, found.cost_source) == (None, "none") and found.cost_reason
    found = price("openai", "gpt-4o-mini-2024-07-18", input=10, output=1, tools={"juggling": 1})
    assert (found.cost, found.cost_reason) == (None, "unpriced_unit:juggling_kcount")
