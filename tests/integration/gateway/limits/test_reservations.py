"""Reservations over a real nats-server, which may be frozen, or lose its counters."""

import asyncio
import contextlib
import os
import signal
import time
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from nats.aio.client import Client

from services.gateway.limits import reservations as module
from services.gateway.limits.budgets import Budgets
from services.gateway.limits.reservations import Reservations, Unavailable
from services.gateway.request.errors import Refusal
from shared import nats_client
from shared.limits.model import Limit
from tests.support import servers
from tests.support.event_line import until
from tests.support.gateway_app import NoEvents
from tests.support.rate_limits import Limits, request

ONE = "acme.one.0"
MINUTE = 30_000_000


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = MINUTE * 60.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing times out on a busy machine, but where a test wants it."""
    monkeypatch.setattr(module, "TIMEOUT_SECONDS", servers.DEADLINE)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[servers.NatsServer]:
    with servers.nats_server(tmp_path) as made:
        await servers.provision(made)
        yield made


@pytest.fixture
async def nc(server: servers.NatsServer) -> AsyncIterator[Client]:
    connection = await nats_client.connect(server.url("gateway"), service="gateway")
    yield connection
    with contextlib.suppress(Exception):
        await asyncio.wait_for(connection.close(), 2)


async def freeze(server: servers.NatsServer) -> None:
    """Stop the server, and wait until none of its threads runs."""
    os.kill(server.pid, signal.SIGSTOP)

    async def is_frozen() -> bool:
        states = [
            path.read_text().rpartition(")")[2].split()[0] for path in Path(f"/proc/{server.pid}/task").glob("*/stat")
        ]
        return set(states) == {"T"}

    await until(is_frozen, "a frozen nats-server")


def reservations(nc: Client, clock: Clock | None = None) -> Reservations:
    made = Reservations(clock or Clock())
    made.attach(nc)
    return made


async def total(nc: Client, minute: int = MINUTE) -> int:
    """What the shared counter says."""
    return await Reservations._total(nc, ONE, minute)


async def settles(nc: Client, amount: int, minute: int = MINUTE) -> None:
    async def is_equal() -> bool:
        return await total(nc, minute) == amount

    await until(is_equal, f"a counter of {amount}")


async def test_reservation_that_timed_out_is_not_left_raised(
    server: servers.NatsServer, nc: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = reservations(nc)
    with monkeypatch.context() as patch:
        patch.setattr(module, "TIMEOUT_SECONDS", 0.1)
        await freeze(server)
        try:
            with pytest.raises(Unavailable):
                await made.reserve(ONE, 5, is_needed=True)
        finally:
            os.kill(server.pid, signal.SIGCONT)
    await settles(nc, 0)
    assert not made.is_any


async def test_reservation_of_a_client_that_left_is_not_left_raised(nc: Client) -> None:
    made = reservations(nc)
    for turns in range(12):  # of the event loop, after which the client is gone
        asked = asyncio.create_task(made.reserve(ONE, 5, is_needed=True))
        for _ in range(turns):
            await asyncio.sleep(0)
        asked.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asked
            made.give_back(ONE, 5)
    await until(lambda: _is_none(made), "nothing reserved")
    assert await total(nc) == 0


async def test_repayment_whose_reply_was_lost_does_not_raise_the_counter(
    nc: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = reservations(nc)
    await made.reserve(ONE, 5, is_needed=True)
    await made.reserve(ONE, 7, is_needed=True)
    change = Reservations._change
    lost: list[object] = []

    async def unanswered(*arguments: object, **named: object) -> object:
        found = await change(*arguments, **named)  # type: ignore[arg-type]
        if not lost:
            lost.append(found)
            raise TimeoutError
        return found

    monkeypatch.setattr(Reservations, "_change", staticmethod(unanswered))
    made.give_back(ONE, 5)
    await until(lambda: _is_repaid(made), "nothing to be given back")
    assert lost == [7]
    assert await total(nc) == 7


async def _is_repaid(made: Reservations) -> bool:
    return not made._repayments


async def _is_none(made: Reservations) -> bool:
    return not made.is_any


async def test_counters_that_nats_has_lost_are_raised_again(nc: Client) -> None:
    one, two = reservations(nc), reservations(nc)
    await one.reserve(ONE, 5, is_needed=True)
    await two.reserve(ONE, 7, is_needed=True)
    await Reservations._change(nc, ONE, MINUTE, -12, change_id=uuid.uuid4().hex)
    assert (await one.reserve(ONE, 2, is_needed=True))[0] == 7
    await settles(nc, 7)
    one.give_back(ONE, 7)
    two.give_back(ONE, 7)  # which the counter does not have any more
    await settles(nc, 0)


async def test_what_a_killed_gateway_has_reserved_drops_out_of_a_busy_budget(nc: Client) -> None:
    clock, ahead = Clock(), Clock()
    ahead.now += 59
    killed, busy, other = reservations(nc, clock), reservations(nc, clock), reservations(nc, ahead)
    await killed.reserve(ONE, 100, is_needed=True)
    await busy.reserve(ONE, 5, is_needed=True)
    found = []
    for _ in range(3):
        found.append((await other.reserve(ONE, 1, is_needed=True))[0])
        other.give_back(ONE, 1)
        for one in (clock, ahead):
            one.now += 60
        for living in (busy, other):
            await living.move()
        await until(lambda: _is_paid(busy), "what was moved on")
        await until(lambda: _is_none(other), "nothing reserved")
    assert found == [106, 106, 6]
    assert busy.own(ONE) == 5
    assert [await total(nc, MINUTE + number) for number in range(-1, 5)] == [0, 100, 0, 0, 5, 0]
    busy.give_back(ONE, 5)
    await settles(nc, 0, MINUTE + 3)


async def test_gateways_whose_clocks_differ_see_what_the_others_have_reserved(nc: Client) -> None:
    clocks = [Clock() for _ in range(3)]
    made = [reservations(nc, clock) for clock in clocks]
    clocks[1].now -= 1
    clocks[2].now += 59
    assert [(await one.reserve(ONE, 5, is_needed=True))[0] for one in made] == [5, 10, 15]
    clocks[2].now = 0.0  # set back by years: what it has reserved is moved to where it looks
    await made[2].move()
    await until(lambda: _is_paid(made[2]), "what was moved on")
    assert (await total(nc, 0), made[2].own(ONE)) == (5, 5)


async def _is_paid(made: Reservations) -> bool:
    return not made._repayments


async def test_request_that_ends_while_its_reservation_is_moved_leaves_nothing(nc: Client) -> None:
    for turns in range(12):  # of the event loop, after which the request ends
        clock = Clock()
        made = reservations(nc, clock)
        await made.reserve(ONE, 5, is_needed=True)
        clock.now += 60
        moving = asyncio.create_task(made.move())
        for _ in range(turns):
            await asyncio.sleep(0)
        made.give_back(ONE, 5)
        await moving
        await until(lambda made=made: _is_none(made), "nothing reserved")
    assert [await total(nc, MINUTE + number) for number in range(2)] == [0, 0]


async def test_reservations_at_the_same_time_are_counted_once(nc: Client) -> None:
    made = reservations(nc)
    found = await asyncio.gather(*(made.reserve(ONE, 5, is_needed=True) for _ in range(20)))
    assert sorted(total for total, _ in found) == [5 * number for number in range(1, 21)]
    for _ in found:
        made.give_back(ONE, 5)
    await until(lambda: _is_none(made), "nothing reserved")
    assert await total(nc) == 0


def budget(**fields: str) -> Limit:
    return Limit("acme", "one", datetime.now(UTC), Decimal("0.5"), measure="cost", period="month", **fields)  # type: ignore[arg-type]


async def test_only_one_request_in_a_while_waits_for_a_frozen_nats(
    server: servers.NatsServer, nc: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIMEOUT_SECONDS", 0.1)
    monkeypatch.setattr(module, "REST_SECONDS", 3600)
    raised: set[str] = set()
    change = Reservations._change

    async def note(nc: Client, counter: str, minute: int, by: int, *, change_id: str) -> int | None:
        if by > 0:
            raised.add(change_id)  # a repetition, which finds out whether it was counted, has the same id
        return await change(nc, counter, minute, by, change_id=change_id)

    monkeypatch.setattr(Reservations, "_change", staticmethod(note))
    made = Budgets(Limits(budget()), NoEvents(), name="test")
    made._reservations.attach(nc)
    await freeze(server)
    try:
        assert (await made.check(request(), None))[0] is not None
        for _ in range(5):
            assert (await made.check(request(), None))[0] is not None
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert len(raised) == 1  # the first request's


async def test_requests_that_wait_for_a_frozen_nats_do_not_cross_a_budget_together(
    server: servers.NatsServer, nc: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIMEOUT_SECONDS", 0.2)
    made = Budgets(Limits(budget()), NoEvents(), name="test")  # $0.50, at 5 cents each
    made._reservations.attach(nc)
    await freeze(server)
    try:
        found = await asyncio.gather(*(made.check(request(), None) for _ in range(40)), return_exceptions=True)
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert sum(isinstance(one, Refusal) for one in found) == 30


async def test_stopping_gateway_waits_until_nothing_is_reserved(nc: Client) -> None:
    made = Budgets(Limits(budget(mode="strict")), NoEvents(), name="test")
    made._reservations = reservations(nc)
    await made._reservations.reserve(ONE, 5, is_needed=True)
    draining = asyncio.create_task(made.drain(servers.DEADLINE))
    await asyncio.sleep(0.1)
    assert not draining.done()
    made._reservations.give_back(ONE, 5)
    await draining
    assert await total(nc) == 0
    began = time.monotonic()
    await made._reservations.reserve(ONE, 5, is_needed=True)
    await made.drain(0.1)
    assert time.monotonic() - began < servers.DEADLINE
