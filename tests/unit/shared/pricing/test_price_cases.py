"""Costs against sums made by hand from published prices: each case with its arithmetic and where the prices stand."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from shared import pricing
from shared.usage import Usage
from tests.support.price_cases import CASES, SONNET, Case, K


def price(case: Case) -> pricing.CostColumns:
    at = datetime(case.day.year, case.day.month, case.day.day, 23, 59, tzinfo=UTC)
    given: dict[str, Any] = {"model": case.model, "source": "reported", "input": 0, "output": 0}
    used = msgspec.convert(given | case.usage, Usage)
    return pricing.price(used, provider=case.provider, endpoint="POST /v1/x", model_requested="", status=200, at=at)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.provider}-{case.model}-{case.expected}")
def test_the_cost_is_what_a_hand_computes(case: Case) -> None:
    found = price(case)
    assert found.cost == Decimal(case.expected), f"{case.sum} ({case.source}): {found}"
    assert sum(found.cost_by_class.values()) == found.cost
    assert found.cost_source == "computed"
    assert found.unit_prices


def test_tool_fees_are_a_cost_class_of_their_own() -> None:
    found = price(Case("anthropic", SONNET, K | {"geo": "us", "tools": {"web_search": 2}}, "", "", ""))
    assert found.cost_by_class == {"input": Decimal("0.0022"), "output": Decimal("0.0011"), "tools": Decimal("0.02")}
    assert found.unit_prices["web_searches_kcount"] == 10
