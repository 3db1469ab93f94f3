"""The split of a change of cost: its parts are those of the formula, and add up."""

import decimal
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.dashboard.cost_change import Split, Use, split
from tests.support.examples import examples

USES = st.dictionaries(
    st.sampled_from("abcd"),
    st.builds(
        Use,
        st.integers(0, 10**7),
        st.one_of(st.just(0), st.integers(0, 10**12)),
        st.decimals(0, 10**7, places=12, allow_nan=False),
    ),
)


def by_formula(before: dict[str, Use], now: dict[str, Use]) -> dict[str, float]:
    """The same, as the formula states it."""
    of_all_before, of_all_now = (sum(use.requests for use in uses.values()) for uses in (before, now))
    parts = {"volume": 0.0, "mix": 0.0, "tokens": 0.0, "price": 0.0}
    parts["volume"] = (of_all_now - of_all_before) * float(sum(use.cost for use in before.values())) / of_all_before
    for model in before.keys() | now.keys():
        old, new = before.get(model, Use()), now.get(model, Use())
        s0, s1 = old.requests / of_all_before, new.requests / of_all_now
        has_tokens = old.tokens and new.tokens
        t0, t1 = (
            (use.tokens / use.requests if has_tokens else 1.0 for use in (old, new))
            if old.requests and new.requests
            else (1.0, 1.0)
        )
        p0 = float(old.cost) / old.requests / t0 if old.requests else 0.0
        p1 = float(new.cost) / new.requests / t1 if new.requests else 0.0
        if not old.requests:
            p0 = p1
        if not new.requests:
            p1 = p0
        parts["mix"] += of_all_now * (s1 - s0) * t0 * p0
        parts["tokens"] += of_all_now * s1 * (t1 - t0) * p0
        parts["price"] += of_all_now * s1 * t1 * (p1 - p0)
    return parts


def test_parts_are_those_of_the_formula() -> None:
    before = {
        "big": Use(100, 200_000, Decimal(10)),
        "small": Use(300, 300_000, Decimal(3)),
        "gone": Use(50, 5, Decimal(1)),
    }
    now = {
        "big": Use(300, 900_000, Decimal(60)),
        "small": Use(100, 80_000, Decimal(1)),
        "new": Use(10, 100, Decimal(2)),
    }
    found = split(before, now)
    for name, value in by_formula(before, now).items():
        assert float(getattr(found, name)) == pytest.approx(value), name
    assert found.change == Decimal(63) - Decimal(14)


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        ({"a": Use(10, 100, Decimal(1))}, {"a": Use(20, 200, Decimal(2))}, "1 0 0 0"),  # twice as many requests
        ({"a": Use(10, 100, Decimal(1))}, {"a": Use(10, 300, Decimal(3))}, "0 0 2 0"),  # of thrice the length
        ({"a": Use(10, 100, Decimal(1))}, {"a": Use(10, 100, Decimal(4))}, "0 0 0 3"),  # at four times the price
        ({"a": Use(10, 100, Decimal(1))}, {"b": Use(10, 100, Decimal(4))}, "0 3 0 0"),  # by another model
        ({"a": Use(10, 0, Decimal(1))}, {"a": Use(10, 50, Decimal(2))}, "0 0 0 1"),  # without tokens: a price each
        ({}, {"a": Use(10, 100, Decimal(4))}, "4 0 0 0"),
        ({"a": Use(10, 100, Decimal(4))}, {}, "-4 0 0 0"),
        ({}, {}, "0 0 0 0"),
    ],
)
def test_what_alone_has_changed_is_the_only_part(before: dict[str, Use], now: dict[str, Use], expected: str) -> None:
    assert split(before, now) == Split(*map(Decimal, expected.split()))


@settings(max_examples=examples(300))
@given(USES, USES)
def test_parts_add_up_to_the_change_exactly(before: dict[str, Use], now: dict[str, Use]) -> None:
    with decimal.localcontext(prec=60):
        costs = [sum((use.cost for use in uses.values()), Decimal(0)) for uses in (before, now)]
        assert split(before, now).change == costs[1] - costs[0]
