"""Alert engines beside a real nats-server and ClickHouse, with a clock of their own."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import prometheus_client
from clickhouse_connect.driver.asyncclient import AsyncClient
from nats.aio.client import Client

from services.logger import insert, rows
from services.logger.alerts import bucket as buckets
from services.logger.alerts.channels import Message, SendError
from services.logger.alerts.contributors import Details
from services.logger.alerts.engine import Engine
from services.logger.alerts.levels import Measured
from services.logger.alerts.schedule import Schedule
from services.logger.alerts.self_alerts import SelfAlerts
from services.logger.metrics import Metrics
from services.logger.prices.current import CurrentPrices
from services.logger.rows import ResponseRow
from shared import stream_reader
from shared.alerts.model import ALERTS_STREAM, CHANNEL_KEY, HISTORY_KEY, RULE_KEY, AlertRule, Channel, Entry
from shared.process import cancel_and_wait
from tests.support import event_line as lines
from tests.support import servers

START = datetime(2026, 10, 20, tzinfo=UTC)


class Clock:
    """A clock that tests set."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **by: float) -> None:
        self.now += timedelta(**by)


class Recorder:
    """Takes the place of the sender: remembers messages, and fails where it is told to."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Message]] = []
        self.failing: set[str] = set()
        self.before: Callable[[str, Message], Awaitable[None]] | None = None
        self.after: Callable[[str, Message], Awaitable[None]] | None = None

    async def send(self, channel: Channel, message: Message, *, begin: Callable[[], Awaitable[None]]) -> None:
        if self.before is not None:
            await self.before(channel.name, message)
        await begin()
        if channel.name in self.failing:
            raise SendError("refused by the receiver")
        self.sent.append((channel.name, message))
        if self.after is not None:
            await self.after(channel.name, message)

    @property
    def levels(self) -> list[tuple[str, str, str]]:
        """Channel, level and subject of each message."""
        return [(channel, message.level, message.subject) for channel, message in self.sent]


async def _no_details(*_: Any) -> Details:
    return Details()


class Alerts:
    """Servers, and engines that share them, all on one clock."""

    def __init__(self, nc: Client, admin: Client, client: AsyncClient, clock: Clock) -> None:
        self.nc = nc
        self.client = client
        self.clock = clock
        self._admin = admin.jetstream()
        self._tasks: list[asyncio.Task[None]] = []

    async def engine(self, sender: Any, *, has_details: bool = False) -> Engine:
        """An engine that follows the bucket, and evaluates when it is told to.

        `has_details`: its messages say who and what changed, which takes most of the time of a test.
        """
        metrics = Metrics(prometheus_client.CollectorRegistry())
        nc = self.nc
        self_alerts = SelfAlerts(nc, self.client, prices=CurrentPrices("", metrics=metrics))
        made = Engine(
            nc,
            self.client,
            sender=sender,
            metrics=metrics,
            dashboard_url="https://metrion.example.com",
            self_alerts=self_alerts,
            schedule=Schedule(debounce=timedelta(0), idle=timedelta(0)),
            clock=self.clock,
        )
        if not has_details:
            setattr(made, "_details", _no_details)  # noqa: B010 — of other tests it is beside the point
        for follow in (made.records.follow, self_alerts.follow):
            self._tasks.append(asyncio.create_task(follow(nc)))
        await asyncio.wait_for(made.records.wait_until_loaded(), servers.DEADLINE)
        return made

    async def put(self, *records: AlertRule | Channel) -> None:
        for record in records:
            key = RULE_KEY if isinstance(record, AlertRule) else CHANNEL_KEY
            subject = f"{buckets.PREFIX}{key}{record.account}.{record.name}"
            await self._admin.publish(subject, msgspec.json.encode(record))

    async def store(self, *made: ResponseRow) -> None:
        assert not await insert.insert(self.client, list(made))

    async def history(self, account: str, rule: str) -> list[Entry]:
        found = await stream_reader.messages(
            self._admin, ALERTS_STREAM, f"{buckets.PREFIX}{HISTORY_KEY}{account}.{rule}.*"
        )
        return [msgspec.json.decode(message.data, type=Entry) for message in found]

    async def close(self) -> None:
        for task in self._tasks:
            await cancel_and_wait(task)


async def turn(engine: Engine, rule: AlertRule, *, records: int = 0) -> None:
    """Wait until an engine knows a rule, then evaluate it."""
    key = f"{rule.account}.{rule.name}"

    async def is_known() -> bool:
        return engine.records.rules.get(key) == rule and len(engine.records.channels_of(rule.account)) >= records

    await lines.until(is_known, "the rule")
    await engine.evaluate(rule)


def channel(account: str, name: str = "ops", kind: Any = "webhook") -> Channel:
    return Channel(account=account, name=name, created_at=START, kind=kind, hint="https://example.com")


def rule(account: str, name: str = "one", **fields: Any) -> AlertRule:
    given: dict[str, Any] = {
        "account": account,
        "name": name,
        "created_at": START,
        "measure": "cost",
        "threshold": Decimal(10),
        "channels": ("ops",),
    }
    return AlertRule(**given | fields)


def request(account: str, at: datetime, **fields: Any) -> ResponseRow:
    """One successful request of a dollar, half a second long."""
    given: dict[str, Any] = {
        "id": str(uuid.uuid4()),
        "account": account,
        "token": "app",
        "requester": "ann",
        "metadata": {},
        "provider": "openai",
        "dialect": "openai_chat",
        "endpoint": "POST /v1/chat/completions",
        "model_requested": "gpt-4o",
        "model": "gpt-4o",
        "stream": False,
        "started_at": at,
        "gateway": "g",
        "status": 200,
        "outcome": "complete",
        "latency_ms": 500,
        "ttfb_ms": 100,
        "input_tokens": 10,
        "output_tokens": 20,
        "usage_source": "reported",
        "cost_source": "computed",
        "cost": Decimal(1),
        "version": rows.VERSION_ANSWERED,
        "spool": "s",
        "epoch": 1,
        "sequence": 0,
    }
    return ResponseRow(**given | fields)


def requests(account: str, at: datetime, count: int, **fields: Any) -> Sequence[ResponseRow]:
    return [request(account, at + timedelta(seconds=number), **fields) for number in range(count)]


def new_account() -> str:
    return f"a{uuid.uuid4().hex[:12]}"


def measured(value: int) -> Measured:
    return Measured(Decimal(value))
