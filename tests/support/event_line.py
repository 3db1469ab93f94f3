"""NATS, a logger and ClickHouse, with events to send and rows to expect."""

import asyncio
import contextlib
import itertools
import os
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import nats.errors
import nats.js.errors
from nats.aio.client import Client

from services.logger import rows
from services.logger.service import run
from services.logger.settings import Settings
from shared import events as event_types
from shared.events import Envelope, Event, Evidence, GatewayBeat, Origin, RequestEvent, ResponseEvent
from tests.support import servers

NEVER = 3600.0
_users = itertools.cycle(range(3))  # in turn: drawn, one of them would now and then have none of a dozen requests


class Line(msgspec.Struct):
    """The two servers between which a logger stands."""

    nats: servers.NatsServer
    clickhouse: servers.ClickHouseServer

    def settings(self, **changes: Any) -> Settings:
        defaults: dict[str, Any] = {
            "nats_url": self.nats.url("logger"),
            "clickhouse_url": self.clickhouse.url(),
            "logger_ops_port": 0,
            "linger": 0.05,
            "redeliver_after": 3.0,
            "sweep_every": NEVER,
        }
        return Settings(**(defaults | changes))


@contextlib.asynccontextmanager
async def logger(settings: Settings) -> AsyncIterator[asyncio.Event]:
    """A logger in this process, stopped at the end."""
    stop = asyncio.Event()
    task = asyncio.create_task(run(settings, stop))
    try:
        yield stop
    finally:
        stop.set()
        await asyncio.wait_for(task, servers.DEADLINE)


def envelope(account: str, *, started_at: datetime | None = None, **changes: object) -> Envelope:
    given = Envelope(
        id=str(uuid.uuid4()),
        account=account,
        token="app",
        requester=f"user{next(_users)}",
        metadata={"team": "blue"},
        provider="anthropic",
        dialect="anthropic",
        endpoint="POST /v1/messages",
        model="claude-sonnet-4-5",
        stream=False,
        started_at=started_at or datetime.now(UTC),
        gateway="test",
    )
    return msgspec.structs.replace(given, **changes)


def answer(origin: Origin, asked: Envelope, *, tokens: int = 10, **changes: object) -> ResponseEvent:
    usage = {"input_tokens": tokens, "output_tokens": tokens * 2}
    pick = msgspec.json.encode({"model": "claude-sonnet-4-5-20250929", "usage": usage})
    given = ResponseEvent(
        origin=origin,
        envelope=asked,
        status=200,
        outcome=event_types.COMPLETE,
        error_type="",
        error_message="",
        provider_request_id="req_1",
        latency_ms=120,
        ttfb_ms=40,
        request_bytes=300,
        response_bytes=500,
        cache="",
        drained=False,
        upstream=True,
        evidence=Evidence(picks=(pick,)),
    )
    return msgspec.structs.replace(given, **changes)


def traffic(account: str, count: int, *, spool: str = "", epoch: int = 1) -> list[Event]:
    """`count` requests with their answers, numbered without gaps, and the beat that says so."""
    spool = spool or account
    events: list[Event] = []
    for number in range(count):
        asked = envelope(account)
        events.append(RequestEvent(Origin(spool, epoch, 2 * number + 1), asked))
        events.append(answer(Origin(spool, epoch, 2 * number + 2), asked, tokens=number + 1))
    return [*events, beat(spool, epoch, sequence=2 * count)]


def beat(spool: str, epoch: int, *, sequence: int, closing: bool = False, dropped: int = 0) -> GatewayBeat:
    return GatewayBeat(spool, epoch, "test", datetime.now(UTC), sequence, dropped, closing, 0)


def packed(events: Sequence[Event]) -> bytes:
    return b"".join(event_types.frame(body) + body for body in map(event_types.encode, events))


def cut(events: Sequence[Event], size: int) -> list[bytes]:
    return [packed(events[start : start + size]) for start in range(0, len(events), size)]


async def ship(bus: Client, messages: Sequence[bytes]) -> None:
    """Publish as a gateway's shipper does: under one Nats-Msg-Id until it is acked."""
    for data in messages:
        headers, deadline = {"Nats-Msg-Id": uuid.uuid4().hex}, time.monotonic() + servers.DEADLINE
        while True:
            try:
                await bus.jetstream().publish("metrion.events.test", data, headers=headers, timeout=2)
                break
            except (nats.errors.Error, nats.js.errors.Error, OSError):
                assert time.monotonic() < deadline, "publishing: waited in vain"
                await asyncio.sleep(0.1)


async def until(condition: Callable[[], Awaitable[bool]], what: str, *, seconds: float = servers.DEADLINE) -> None:
    """Poll until `condition` holds. It rests at least as long as the condition took."""
    deadline = time.monotonic() + seconds
    while True:
        began = time.monotonic()
        with contextlib.suppress(RuntimeError, OSError, nats.errors.Error, nats.js.errors.Error):
            if await condition():
                return
        now = time.monotonic()
        assert now < deadline, f"{what}: waited in vain"
        await asyncio.sleep(max(0.1, now - began))


async def drained(bus: Client) -> bool:
    """Whether everything published is acked."""
    consumer = await bus.jetstream().consumer_info(event_types.EVENTS_STREAM, event_types.LOGGER_CONSUMER)
    return not consumer.num_pending and not consumer.num_ack_pending


def select(line: Line, what: str, account: str, *, table: str = "requests") -> list[str]:
    sql = f"SELECT {what} FROM metrion.{table} WHERE account = '{account}'"
    return line.clickhouse.query(sql).rstrip("\n").split("\t")


async def stored(line: Line, bus: Client, account: str, count: int) -> None:
    async def there() -> bool:
        return select(line, "count()", account) == [str(count)] and await drained(bus)

    await until(there, f"{count} rows")


def assert_exact(line: Line, account: str, events: Sequence[Event]) -> None:
    """One row an answer, and the very sums that the events stand for."""
    expected = [rows.response_row(event) for event in events if isinstance(event, ResponseEvent)]
    cost = sum((row.cost for row in expected if row.cost is not None), Decimal(0))
    found = select(line, "count(), uniqExact(id), sum(input_tokens), sum(output_tokens), sum(cost)", account)
    assert [int(figure) for figure in found[:4]] == [
        len(expected),
        len(expected),
        sum(row.input_tokens or 0 for row in expected),
        sum(row.output_tokens or 0 for row in expected),
    ]
    assert Decimal(found[4]) == cost
    assert cost > 0


async def provisioned(bus: Client) -> bool:
    return bool(await bus.jetstream().consumer_info(event_types.EVENTS_STREAM, event_types.LOGGER_CONSUMER))


def start_logger(line: Line, program: str) -> subprocess.Popen[bytes]:
    settings = line.settings()
    environment = {
        **os.environ,
        "METRION_NATS_URL": settings.nats_url,
        "METRION_CLICKHOUSE_URL": settings.clickhouse_url,
        "METRION_LOGGER_OPS_PORT": "0",
        "METRION_REDELIVER_AFTER": "3",
    }
    return subprocess.Popen([sys.executable, "-c", program], cwd=servers.ROOT, env=environment)
