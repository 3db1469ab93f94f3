"""Gateways' budgets over a real NATS server, and events that a real logger stores."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
from nats.aio.client import Client

from services.gateway.limits.budgets import Budgets
from services.gateway.request.errors import Refusal
from shared import accounts_admin, events, nats_client
from shared.events import Envelope, Origin
from shared.limits import spend
from shared.limits.model import Limit, Scope
from shared.limits.spend import QUOTE_SUBJECT, SPEND_STREAM, SPEND_SUBJECT, QuoteRequest, Used
from shared.process import cancel_and_wait
from tests.support import noon, servers
from tests.support.event_line import Line, answer, envelope, packed, until

TOKEN_COST = Decimal("0.000033")  # of event_line.answer: one input token at $3, two output tokens at $15 a million


def budget(account: str, amount: str = "1", name: str = "one", **fields: Any) -> Limit:
    scope = fields.pop("scope", Scope())
    given: dict[str, Any] = {"measure": "cost", "period": "month", "timezone": noon.zone()} | fields
    return Limit(account, name, datetime.now(UTC), Decimal(amount), scope=scope, **given)


async def create(bus: Client, *limits: Limit) -> None:
    """Create the limits and their accounts."""
    js = bus.jetstream()
    for limit in limits:
        await accounts_admin.ensure_account(js, limit.account)
        await js.publish(f"$KV.accounts.limit.{limit.account}.{limit.name}", msgspec.json.encode(limit))


async def figure(bus: Client, counter: str) -> Used | None:
    """The published figure of a counter; None if there is none, or something else."""
    try:
        message = await bus.jetstream().get_last_msg(SPEND_STREAM, SPEND_SUBJECT + counter)
        return spend.decode_used(message.data or b"")
    except Exception:
        return None


async def until_current(bus: Client, account: str) -> None:
    """Wait until the figures of an account include every event that has been published."""

    async def is_current() -> bool:
        last = (await bus.jetstream().stream_info(events.EVENTS_STREAM)).state.last_seq
        message = await bus.jetstream().get_last_msg(SPEND_STREAM, SPEND_SUBJECT + account)
        return spend.decode_progress(message.data or b"").through >= last

    await until(is_current, "figures that include everything")


class Gateway:
    """A gateway's budgets, whose requests are events that NATS stores at once."""

    def __init__(self, nc: Client, limits: Sequence[Limit], name: str) -> None:
        self.nc, self._limits, self.name = nc, limits, name
        self._appended = 0
        self._stored: dict[int, int] = {}  # event → sequence number in the stream
        self._all_stored = 0  # events, from the first without a gap
        self.begun: list[tuple[float, int]] = []  # time and expected cost of each request
        self.budgets = Budgets(self, self, name=name)

    def limits(self, account: str) -> Sequence[Limit]:
        return [limit for limit in self._limits if limit.account == account]

    def position(self) -> tuple[int, int]:
        return 0, self._appended

    def stored(self, position: tuple[int, int]) -> int:
        while self._all_stored in self._stored:
            self._all_stored += 1
        return max(self._stored.values()) if self._all_stored >= position[1] else 0

    async def call(
        self, account: str, *, tokens: int, seconds: float = 0.0, body: bytes = b"{}", **changes: Any
    ) -> bool:
        """Make a request; False if a budget refuses it."""
        asked: Envelope = envelope(account, **changes)
        try:
            hold, _ = await self.budgets.check(asked, body)
        except Refusal as refusal:
            assert refusal.code == "budget_exceeded", refusal.message
            return False
        self.begun.append((time.monotonic(), hold.cost if hold else 0))
        await asyncio.sleep(seconds)
        number = self._appended
        self._appended += 1
        if hold is not None:
            self.budgets.finish(hold, is_sent=True)
        event = answer(Origin(f"{account}-{self.name}", 1, number + 1), asked, tokens=tokens)
        ack = await self.nc.jetstream(timeout=30).publish("metrion.events.test", packed([event]))
        self._stored[number] = ack.seq
        return True


async def is_quoted(gateway: Gateway, account: str) -> bool:
    """Whether a logger answers what a request of an account is expected to cost."""
    asked = envelope(account)
    question = QuoteRequest(account, asked.token, asked.provider, asked.model)
    message = await gateway.nc.request(QUOTE_SUBJECT, spend.encode(question), timeout=servers.DEADLINE)
    return spend.decode_quote(message.data).worst_output is not None


@contextlib.asynccontextmanager
async def gateways(line: Line, count: int, *limits: Limit) -> AsyncIterator[list[Gateway]]:
    """So many gateways that know these limits and the figures published so far."""
    made: list[Gateway] = []
    tasks: list[asyncio.Task[None]] = []
    for number in range(count):
        nc = await nats_client.connect(line.nats.url("gateway"), service="gateway")
        gateway = Gateway(nc, limits, f"gateway-{number}")
        gateway.budgets.attach(nc)
        tasks.append(asyncio.create_task(gateway.budgets.follow(nc)))
        made.append(gateway)
    try:
        for gateway in made:
            await asyncio.wait_for(gateway.budgets.figures._watch.loaded.wait(), servers.DEADLINE)
        yield made
    finally:
        await asyncio.gather(*map(cancel_and_wait, tasks))
        for gateway in made:
            await gateway.nc.close()
