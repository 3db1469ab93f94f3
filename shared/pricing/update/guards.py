"""Guards against wrong prices: reasons not to accept a candidate."""

from collections.abc import Sequence
from decimal import Decimal

import msgspec

from shared.pricing import hand_cases
from shared.pricing.table import Table
from shared.pricing.update.differences import REMOVED_MODEL, REMOVED_PRICE, Difference

MOST_FACTOR = Decimal(10)

REMOVED = "removed"
ZERO = "zero"
FACTOR = "factor"
HAND_CASE = "hand case"
SKIPPED = "skipped"


class Objection(msgspec.Struct, frozen=True):
    """A reason not to accept a candidate."""

    guard: str
    text: str

    @property
    def can_be_overruled(self) -> bool:
        """Whether a person may accept the candidate nevertheless."""
        return self.guard != HAND_CASE


def objections(differences: Sequence[Difference], candidate: Table) -> list[Objection]:
    """Everything that speaks against a candidate; [] if it can be accepted."""
    found = [objection for difference in differences if (objection := _objection(difference))]
    return found + [Objection(HAND_CASE, text) for text in hand_cases.failures(candidate)]


def _objection(difference: Difference) -> Objection | None:
    name = f"{difference.provider} {difference.model}"
    price = f"{name}, {difference.tier or 'standard'} {difference.unit}"
    if difference.change == REMOVED_MODEL:
        return Objection(REMOVED, f"{name} is removed")
    if difference.change == REMOVED_PRICE:
        return Objection(REMOVED, f"{price}: its price is removed")
    if difference.crosses_zero:
        return Objection(ZERO, f"{price} {'becomes free' if difference.new == 0 else 'is no longer free'}")
    if difference.factor > MOST_FACTOR:
        return Objection(FACTOR, f"{price} changes by a factor of {difference.factor:.0f}")
    return None
