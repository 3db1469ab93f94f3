"""Rate limiters over a real nats-server, as several gateways have them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from nats.aio.client import Client

from services.gateway.limits import counters, window
from services.gateway.limits.limiter import Limiter
from services.gateway.request.errors import Refusal
from shared import nats_client
from shared.events import OPENAI_CHAT, Envelope
from shared.limits.model import Limit, Scope
from shared.process import cancel_and_wait
from tests.support import servers

NOW = datetime.now(UTC)
MINUTE = 29_000_000 * 60.0  # a minute begins


def wait_long(patch: pytest.MonkeyPatch) -> None:
    """Let no lease time out on a busy machine."""
    patch.setattr(window, "TIMEOUT_SECONDS", servers.DEADLINE)
    patch.setattr(counters, "REPLY_SECONDS", servers.DEADLINE)


class Limits:
    """The limits of the account acme."""

    def __init__(self, *limits: Limit) -> None:
        self.found = list(limits)

    def limits(self, account: str) -> list[Limit]:
        return self.found


def limit(amount: int, name: str = "one", *, measure: Any = "requests", **scope: str) -> Limit:
    return Limit("acme", name, NOW, Decimal(amount), measure=measure, scope=Scope(**scope))


def request(token: str = "app") -> Envelope:
    return Envelope(
        "id", "acme", token, "", {}, "openai", OPENAI_CHAT, "POST /v1/chat/completions", "m", False, NOW, "g"
    )


@contextlib.asynccontextmanager
async def limiters(server: servers.NatsServer, count: int, source: Limits) -> AsyncIterator[list[Limiter]]:
    connected: list[Client] = []
    made: list[Limiter] = []
    tasks: list[asyncio.Task[None]] = []
    for number in range(count):
        nc = await nats_client.connect(server.url("gateway"), service="gateway")
        one = Limiter(source, name=f"gateway-{number}")
        one.attach(nc)
        connected.append(nc)
        made.append(one)
        tasks.append(asyncio.create_task(one.follow(nc)))
    try:
        while any(one.gateways() < count for one in made):
            await asyncio.sleep(0.01)
        yield made
    finally:
        await asyncio.gather(*map(cancel_and_wait, tasks))
        for nc in connected:
            await nc.close()


async def is_allowed(one: Limiter, asked: Envelope | None = None) -> bool:
    try:
        await one.check(asked or request(), [])
    except Refusal as refusal:
        assert (refusal.status, refusal.code) == (429, "rate_limit_exceeded")
        return False
    return True


async def allowed(made: list[Limiter], tries: int) -> int:
    """How many of the requests pass, which reach the gateways in turn."""
    return sum(await asyncio.gather(*(is_allowed(made[number % len(made)]) for number in range(tries))))


async def settled(made: list[Limiter]) -> None:
    """Wait until the permits that a burst has leased in vain are given back."""
    for one in made:
        for counted in one._current.values():
            if counted.window._leasing is not None:
                await counted.window._leasing
