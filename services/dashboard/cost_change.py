"""Splits a change of cost into volume, mix, tokens per request, and price.

Cost is the sum over models of `requests x tokens per request x cost per token`. With N requests in all, of which model
m has the share s, t tokens per request and cost p per token (0: before, 1: now), the parts are

    volume   (N1 - N0)                  x cost per request before
    mix       N1 x sum of (s1 - s0)     x t0 x p0
    tokens    N1 x sum of  s1 x (t1 - t0) x p0
    price     N1 x sum of  s1 x  t1 x (p1 - p0)

and add up to the change exactly. A model that is new has no t0 and p0: its cost is part of mix. Where a model has no
tokens in one of the two, its cost per request is its price. Requests with unknown cost are not part of any of this;
cache hits and failed requests are, with the cost that they had, mostly none.
"""

import decimal
from collections.abc import Iterable, Mapping
from decimal import Decimal
from fractions import Fraction

import msgspec

_UNITS = 10**12  # of stored costs, in a dollar


class Use(msgspec.Struct, frozen=True):
    """Requests of a model with known cost, their tokens, and their cost."""

    requests: int = 0
    tokens: int = 0
    cost: Decimal = Decimal(0)


class Split(msgspec.Struct, frozen=True):
    """Parts of a change, in US dollars."""

    volume: Decimal
    mix: Decimal
    tokens: Decimal
    price: Decimal

    @property
    def change(self) -> Decimal:
        """The sum of all parts: cost now, less cost before."""
        return self.volume + self.mix + self.tokens + self.price


def split(before: Mapping[str, Use], now: Mapping[str, Use]) -> Split:
    """Split the change between two periods, given the use of each model."""
    requests_before, cost_before = _sums(before.values())
    requests_now, cost_now = _sums(now.values())
    change = cost_now - cost_before
    if not requests_before or not requests_now:
        return Split(change, Decimal(0), Decimal(0), Decimal(0))
    growth = Fraction(requests_now, requests_before)
    volume = Fraction(cost_before) * (growth - 1)
    tokens = Fraction(0)
    price = Fraction(0)
    for model, use in now.items():
        of_tokens, of_price = _of_model(before.get(model, Use()), use)
        tokens += of_tokens
        price += of_price
    with decimal.localcontext(prec=60):
        rounded = [Decimal(round(part * _UNITS)) / _UNITS for part in (volume, tokens, price)]
        return Split(rounded[0], change - sum(rounded, Decimal(0)), rounded[1], rounded[2])


def _of_model(before: Use, now: Use) -> tuple[Fraction, Fraction]:
    """Return the parts of a model that are due to its tokens per request, and to its cost per token."""
    if not before.requests or not now.requests:
        return Fraction(0), Fraction(0)
    at_old_cost = Fraction(before.cost) * Fraction(now.requests, before.requests)  # of its requests now
    if not before.tokens or not now.tokens:
        return Fraction(0), Fraction(now.cost) - at_old_cost
    at_old_price = Fraction(before.cost) * Fraction(now.tokens, before.tokens)
    return at_old_price - at_old_cost, Fraction(now.cost) - at_old_price


def _sums(uses: Iterable[Use]) -> tuple[int, Decimal]:
    listed = list(uses)
    return sum(use.requests for use in listed), sum((use.cost for use in listed), Decimal(0))
