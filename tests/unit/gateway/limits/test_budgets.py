"""A gateway's budgets without NATS."""

import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from services.gateway.limits.budgets import Budgets
from services.gateway.request.errors import Refusal
from shared.events import SUBSCRIPTION
from shared.limits import spend
from shared.limits.model import Limit, Scope
from shared.limits.spend import FigureProgress, Held, Quote
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


async def test_absurd_maximum_can_be_sent_to_the_other_gateways(monkeypatch: Any) -> None:
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


async def test_strict_budget_waits_until_what_was_spent_before_it_is_known(monkeypatch: Any) -> None:
    strict = budget("1", mode="strict")
    made = budgets(strict, monkeypatch=monkeypatch)
    body = b'{"model": "m", "max_tokens": 5}'

    async def refusal() -> tuple[int, int]:
        with pytest.raises(Refusal) as caught:
            await made.check(request(), body)
        return caught.value.status, caught.value.retry_after

    def publish_figures(*limits: Limit) -> None:
        ids = tuple(spend.limit_id(limit) for limit in limits)
        made.figures._put("acme", spend.encode(FigureProgress(1, datetime.now(UTC), 0, ids)))

    reserved: list[int] = []

    async def reserve(_: str, units: int, **__: Any) -> tuple[int, None]:
        reserved.append(units)
        return units, None

    monkeypatch.setattr(made._reservations, "reserve", reserve)
    assert await refusal() == (503, 5), "no logger has said anything"
    publish_figures(budget("1", mode="strict", scope=Scope(requester="ann")))
    assert await refusal() == (503, 5), "it had another scope"
    publish_figures(budget("1", mode="strict", timezone="Asia/Tokyo"))
    assert await refusal() == (503, 5), "its days began elsewhere"
    publish_figures(strict)
    made.figures._put("acme", None)
    assert await refusal() == (503, 5), "NATS has lost the figures"
    assert not reserved
    publish_figures(budget("2", "another"), budget("3"))
    hold, _ = await made.check(request(), body)
    assert hold is not None and list(hold.reserved.values()) == reserved


async def test_spent_budget_lets_pass_what_costs_nothing(monkeypatch: Any) -> None:
    made = budgets(budget("0.000001"), monkeypatch=monkeypatch)
    for endpoint in ("GET /v1/models", "POST /v1/files", "POST /v1/batches/b/cancel", "POST /v1/messages/count_tokens"):
        assert await made.check(msgspec.structs.replace(request(), endpoint=endpoint), None) == (None, "")
    for endpoint in ("POST /v1/batches", "POST /v1/responses", "GET /v1/responses"):
        with pytest.raises(Refusal, match="does not allow"):
            await made.check(msgspec.structs.replace(request(), endpoint=endpoint), None)


async def test_request_is_checked_by_its_own_budgets_whatever_was_asked_before(monkeypatch: Any) -> None:
    made = budgets(budget("0"), monkeypatch=monkeypatch)
    for _ in range(2):  # the second time from memory
        with pytest.raises(Refusal):
            await made.check(request(), b"{}")
        for free in ({"endpoint": "POST /v1/files"}, {"billing": SUBSCRIPTION}):
            assert await made.check(replace(request(), **free), b"{}") == (None, "")


async def test_changed_budget_applies_to_the_next_request(monkeypatch: Any) -> None:
    made = budgets(budget("0"), monkeypatch=monkeypatch)
    with pytest.raises(Refusal):
        await made.check(request(), b"{}")
    made._source = Limits(budget("1000"))
    hold, _ = await made.check(request(), b"{}")
    assert hold is not None


async def test_more_different_requests_than_are_remembered_are_all_checked(monkeypatch: Any) -> None:
    monkeypatch.setattr("services.gateway.limits.budgets._MOST_KNOWN", 2)
    made = budgets(budget("1", scope=Scope(requester="*"), measure="requests"), monkeypatch=monkeypatch)
    for name in ("ann", "ben", "eve"):
        await made.check(replace(request(), requester=name), b"{}")
        with pytest.raises(Refusal):
            await made.check(replace(request(), requester=name), b"{}")
    assert len(made._known) <= 2
