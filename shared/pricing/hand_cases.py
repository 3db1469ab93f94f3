"""Costs computed by hand (hand_cases.toml), which every table must reproduce."""

import tomllib
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import cache
from importlib import resources
from typing import Any

import msgspec

from shared import pricing
from shared.pricing.cost import CostColumns
from shared.pricing.table import Table
from shared.usage import Usage

_UNSTATED = "none"


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A cost with its arithmetic.

    `sum` is in USD, and tokens a million unless it divides by something else.
    """

    provider: str
    model: str
    usage: dict[str, Any]
    expected: Decimal
    sum: str
    source: str
    day: date = date(2026, 11, 24)

    def __str__(self) -> str:
        return f"{self.provider} {self.model}, {self.day}: {self.sum}"

    def cost(self, table: Table | None = None) -> CostColumns:
        """The cost by a price table, by default the built-in one."""
        stated = {name: None if value == _UNSTATED else value for name, value in self.usage.items()}
        usage = msgspec.convert({"model": self.model, "source": "reported", "input": 0, "output": 0, **stated}, Usage)
        at = datetime.combine(self.day, time(23, 59), UTC)
        return pricing.price(
            usage, provider=self.provider, endpoint="POST /v1/x", model_requested="", status=200, at=at, table=table
        )


@cache
def load() -> tuple[Case, ...]:
    """All cases."""
    text = resources.files(__package__).joinpath("hand_cases.toml").read_text()
    return msgspec.convert(tomllib.loads(text)["case"], tuple[Case, ...])


def failures(table: Table) -> list[str]:
    """The cases that a price table does not reproduce, each as a sentence."""
    found = []
    for case in load():
        cost = case.cost(table)
        if cost.cost != case.expected:
            shown = cost.cost_reason if cost.cost is None else f"{cost.cost.normalize():f}"
            found.append(f"{case} is {case.expected:f} USD, not {shown}")
    return found
