"""Requests of a subscription cost nothing: budgets of money leave them alone."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from services.gateway.limits.budgets import Budgets
from services.gateway.request.errors import Refusal
from shared.events import ANTHROPIC, SUBSCRIPTION, Envelope
from shared.limits.model import Limit
from tests.support.gateway_app import NoEvents

NOW = datetime.now(UTC)
REQUEST = Envelope(
    "id", "acme", "app", "ann", {}, "anthropic", ANTHROPIC, "POST /v1/messages", "claude-opus-4-5", False, NOW, "gw"
)


class Source:
    """One limit."""

    def __init__(self, measure: Any, amount: str) -> None:
        self._limit = Limit("acme", "one", NOW, Decimal(amount), measure=measure, period="month")

    def limits(self, account: str) -> Sequence[Limit]:
        return [self._limit]


async def test_budget_of_money_holds_nothing_for_a_subscription() -> None:
    budgets = Budgets(Source("cost", "0.000001"), NoEvents(), name="test")
    with pytest.raises(Refusal, match="does not allow this request"):
        await budgets.check(REQUEST, b"{}")
    hold, _ = await budgets.check(msgspec.structs.replace(REQUEST, billing=SUBSCRIPTION), b"{}")
    assert hold is None


async def test_budget_of_tokens_covers_subscriptions_too() -> None:
    budgets = Budgets(Source("tokens", "1"), NoEvents(), name="test")
    with pytest.raises(Refusal, match="does not allow this request"):
        await budgets.check(msgspec.structs.replace(REQUEST, billing=SUBSCRIPTION), b"{}")
