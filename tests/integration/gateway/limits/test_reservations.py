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


def reservations(nc: Client) -> Reservations:
    made = Reservations()
    made.attach(nc)
    return made


async def total(nc: Client) -> int:
    """What the shared counter says."""
    return await Reservations._change(nc, ONE, 0, change_id=uuid.uuid4().hex)


async def settles(nc: Client, amount: int) -> None:
    async def is_equal() -> bool:
        return await total(nc) == amount

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


async def _is_none(made: Reservations) -> bool:
    return not made.is_any


async def test_counters_that_nats_has_lost_are_raised_again(nc: Client) -> None:
    one, two = reservations(nc), reservations(nc)
    await one.reserve(ONE, 5, is_needed=True)
    await two.reserve(ONE, 7, is_needed=True)
    await Reservations._change(nc, ONE, -12, change_id=uuid.uuid4().hex)  # as if it had expired
    assert (await one.reserve(ONE, 2, is_needed=True))[0] == 7
    await settles(nc, 7)
    one.give_back(ONE, 7)
    two.give_back(ONE, 7)  # which the counter does not have any more
    await settles(nc, 0)


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

    async def note(nc: Client, counter: str, by: int, *, change_id: str) -> int:
        if by > 0:
            raised.add(change_id)  # a repetition, which finds out whether it was counted, has the same id
        return await change(nc, counter, by, change_id=change_id)

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
    made._reservations.attach(nc)
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
