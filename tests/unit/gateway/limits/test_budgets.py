"""A gateway's budgets without NATS."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from services.gateway.limits.budgets import Budgets
from shared.limits import spend
from shared.limits.model import Limit
from shared.limits.spend import Held, Quote
from tests.support.gateway_app import NoEvents
from tests.support.rate_limits import Limits, request

PRICED = Quote(50_000_000, None, None, 3000, 15000, 6000, 22500)


def budgets(*limits: Limit, monkeypatch: Any, quote: Quote | None = PRICED) -> Budgets:
    async def find(*_: Any, **__: Any) -> Quote | None:
        return quote

    made = Budgets(Limits(*limits), NoEvents(), name="test")
    monkeypatch.setattr(made._quotes, "find", find)
    return made


def budget(amount: str, name: str = "one", **fields: Any) -> Limit:
    given: dict[str, Any] = {"measure": "cost", "period": "month"} | fields
    return Limit("acme", name, datetime.now(UTC), Decimal(amount), **given)


async def test_absurd_maximum_can_be_told_to_the_other_gateways(monkeypatch: Any) -> None:
    limits: Sequence[Limit] = [budget("1", mode="warn"), budget("10000000000000", "all")]
    made = budgets(*limits, monkeypatch=monkeypatch)
    for body in (b'{"max_tokens": 999999999999999999}', b'{"max_tokens": 1%s}' % (b"0" * 400)):
        hold, _ = await made.check(request(), body)
        assert hold is not None
    assert spend.decode_held(spend.encode(Held("test", dict(made.holds.own)))).amounts == dict(made.holds.own)
    assert made.holds.cost / 1e9 > 0  # what the metric says
