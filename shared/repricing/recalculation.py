"""Recalculates the cost of recorded requests, and sums the differences by model."""

from decimal import Decimal
from typing import Any

import msgspec

from shared import pricing
from shared.pricing import batch_rate, cost_columns
from shared.pricing.cost import CostColumns
from shared.pricing.cost_columns import RequestOutcome
from shared.pricing.table import Table
from shared.usage import Usage

ESTIMATED = "estimated"
REPORTED = "reported"
_UNREAD = ("usage_absent", "broken_stream", pricing.ANSWER_FAILED, pricing.UNREAD)
_COMPARED = ("cost", "cost_by_class", "unit_prices", "cost_source", "cost_reason", "cost_saved", "cost_equivalent")

Row = dict[str, Any]


class Line:
    """Sums over requests; costs in USD, unknown ones left out."""

    def __init__(self) -> None:
        self.requests = self.changed = self.newly_priced = self.newly_unknown = 0
        self.before = self.after = Decimal(0)

    @property
    def difference(self) -> Decimal:
        """The change in cost, including newly priced and newly unknown requests."""
        return self.after - self.before

    def add(self, old: Decimal | None, new: Decimal | None, *, changed: bool) -> None:
        """Count one request."""
        self.requests += 1
        self.changed += changed
        self.newly_priced += old is None and new is not None
        self.newly_unknown += old is not None and new is None
        self.before += old or 0
        self.after += new or 0


class Tally:
    """Sums of recalculated requests, by provider and model."""

    def __init__(self) -> None:
        self.total = Line()
        self._lines: dict[tuple[str, str], Line] = {}

    def add(self, row: Row, money: CostColumns | None) -> CostColumns | None:
        """Count a row and its new cost (None: unchanged), and return it."""
        new = row["cost"] if money is None else money.cost
        for line in (self.total, self._lines.setdefault((row["provider"], model(row)), Line())):
            line.add(row["cost"], new, changed=money is not None)
        return money

    def sorted(self) -> list[tuple[tuple[str, str], Line]]:
        """Return the models, the largest difference first."""
        return sorted(self._lines.items(), key=lambda item: (-abs(item[1].difference), -item[1].changed, item[0]))

    def record(self) -> dict[str, Any]:
        """Return the sums as columns of metrion.repricings."""
        total = self.total
        return {
            "examined": total.requests,
            "changed": total.changed,
            "newly_priced": total.newly_priced,
            "newly_unknown": total.newly_unknown,
            "cost_before": total.before,
            "cost_after": total.after,
        }


def model(row: Row) -> str:
    """Return the model that responded, else the requested one."""
    return str(row["model"] or row["model_requested"])


def repriced(row: Row, table: Table) -> CostColumns | None:
    """Price a row with `table`; None if only the price version would change.

    Usage that could not be read then cannot be read now: no price makes its cost known, nor a known one unread.
    """
    if row["cost_reason"] == batch_rate.BILLED:
        return None  # another row has its cost
    used = msgspec.json.decode(row["usage"], type=Usage)
    money = cost_columns.compute(used, _ending(row), table)
    if _why(money).partition(":")[0] in _UNREAD:
        if row["usage_source"] != ESTIMATED or (used.input_tokens is None and used.output_tokens is None):
            return None
        money = cost_columns.compute(msgspec.structs.replace(used, source=REPORTED), _ending(row), table)
        if money.cost is not None and row["billing"] != cost_columns.SUBSCRIPTION:
            reason = ESTIMATED if row["cost"] is None else row["cost_reason"]
            money = msgspec.structs.replace(money, cost_source=ESTIMATED, cost_reason=reason)
    same = all(getattr(money, name) == row[name] for name in _COMPARED)
    return None if same else money


def _why(money: CostColumns) -> str:
    """Return the reason of the cost; of a subscription's request, that of its equivalent."""
    return money.cost_reason.removeprefix(f"{cost_columns.SUBSCRIPTION}:")


def _ending(row: Row) -> RequestOutcome:
    return RequestOutcome(
        provider=row["provider"],
        endpoint=row["endpoint"],
        model_requested=row["model_requested"],
        started_at=row["started_at"],
        status=row["status"],
        outcome=row["outcome"],
        error_type=row["error_type"],
        cache=row["cache"],
        upstream=row["cost_reason"] != cost_columns.REFUSED,
        billing=row["billing"],
    )
