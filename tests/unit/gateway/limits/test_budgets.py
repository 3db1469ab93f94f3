"""A gateway's budgets without NATS."""

import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from services.gateway.limits.budgets import Budgets
from services.gateway.request.errors import Refusal
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


async def test_cache_hits_count_as_requests_until_their_rows_do(monkeypatch: Any) -> None:
    limits = [budget("300", "requests", measure="requests"), budget("1"), budget("1000", "tokens", measure="tokens")]
    made = budgets(*limits, monkeypatch=monkeypatch)
    allowed = 0
    with contextlib.suppress(Refusal):
        while True:
            hold, _ = await made.check(request(), b'{"max_tokens": 1}')
            assert hold is not None
            made.finish(hold, is_sent=False)
            allowed += 1
    assert allowed == 300
    assert list(made.holds.own.values()) == [300]
    assert made.holds.cost == 0


async def test_request_without_a_provider_leaves_no_cost_behind(monkeypatch: Any) -> None:
    made = budgets(budget("1"), monkeypatch=monkeypatch)
    hold, _ = await made.check(request(), None)
    assert hold is not None
    made.finish(hold, is_sent=False)
    assert (dict(made.holds.own), made.holds.cost, made.holds.waiting) == ({}, 0, 0)


async def test_budget_whose_time_zone_is_unknown_here_fails_no_request(monkeypatch: Any) -> None:
    made = budgets(budget("1", "elsewhere", timezone="Moon/Crater"), budget("1", "two"), monkeypatch=monkeypatch)
    for _ in range(2):
        hold, _ = await made.check(request(), None)
        assert hold is not None
        assert [counter.split(".")[1] for counter in hold.amounts] == ["two"]
