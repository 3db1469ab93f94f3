"""Costs against sums made by hand from published prices: each case with its arithmetic and where the prices stand."""

from decimal import Decimal

import pytest

from shared.pricing import hand_cases
from shared.pricing.hand_cases import Case

CASES = hand_cases.load()
K = {"input": 1000, "output": 100}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.provider}-{case.model}-{case.expected}")
def test_the_cost_is_what_a_hand_computes(case: Case) -> None:
    found = case.cost()
    assert found.cost == case.expected, f"{case.sum} ({case.source}): {found}"
    assert sum(found.cost_by_class.values()) == found.cost
    assert found.cost_source == "computed"
    assert found.unit_prices


def test_tool_fees_are_a_cost_class_of_their_own() -> None:
    usage = K | {"geo": "us", "tools": {"web_search": 2}}
    found = Case("anthropic", "claude-sonnet-5-5-20260901", usage, Decimal(0), "", "").cost()
    assert found.cost_by_class == {"input": Decimal("0.0022"), "output": Decimal("0.0011"), "tools": Decimal("0.02")}
    assert found.unit_prices["web_searches_kcount"] == 10
