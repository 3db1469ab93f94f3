"""Alerts about Metrion itself, by what is really stored and waiting."""

import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec

from services.logger import insert
from services.logger.alerts.engine import Engine
from services.logger.rows import BeatRow, RequestRow
from shared.alerts import built_in
from shared.alerts.model import SYSTEM, AlertRule
from shared.limits.model import LIMIT_KEY, Limit
from shared.limits.spend import SPEND_SUBJECT, FigureProgress, encode
from shared.nats_client import connect
from tests.support import alert_line as line
from tests.support import event_line as lines
from tests.support import servers
from tests.support.alert_line import Alerts, Recorder

RULES = {rule.measure: rule for rule in built_in.RULES.values()}


def rule(measure: str) -> AlertRule:
    return RULES[measure]  # type: ignore[index]


async def value(engine: Engine, measure: str, now: datetime) -> Decimal:
    (found,) = await engine.measure(rule(measure), now)
    return found.value


async def test_built_in_rules_are_on_with_a_channel_and_can_be_replaced(alerts: Alerts) -> None:
    engine = await alerts.engine(Recorder())
    assert engine.rules() == {}
    own = msgspec.structs.replace(rule("dead_letters"), threshold=Decimal(7), is_paused=True, channels=("ops",))
    await alerts.put(line.channel(SYSTEM), own)

    async def are_on() -> bool:
        return len(engine.rules()) == len(RULES) and own in engine.rules().values()

    await lines.until(are_on, "the built-in rules")
    assert {one.channels for one in engine.rules().values()} == {("ops",)}


async def test_dead_letters_and_waiting_events_are_seen(alerts: Alerts, broker: servers.NatsServer) -> None:
    sender = Recorder()
    engine = await alerts.engine(sender)
    assert await value(engine, "dead_letters", alerts.clock.now) == 0
    assert await value(engine, "events_waiting", alerts.clock.now) == 0
    await alerts.nc.jetstream().publish("metrion.dead.bad_event", b"x")
    gateway = await connect(broker.url("gateway"), service="gateway")
    await gateway.jetstream().publish("metrion.events.g", b"x")
    await gateway.close()
    assert await value(engine, "dead_letters", alerts.clock.now) == 1

    async def waits() -> bool:
        return await value(engine, "events_waiting", alerts.clock.now) > 0

    await lines.until(waits, "an event that waits")
    await alerts.put(line.channel(SYSTEM, "pager"))

    async def has_channel() -> bool:
        return "pager" in engine.records.channels_of(SYSTEM)

    await lines.until(has_channel, "the channel")
    await engine.evaluate(msgspec.structs.replace(rule("dead_letters"), channels=("pager",)))
    ((_, message),) = sender.sent
    assert message.title == "Alert: dead-letters of Metrion: 1 dead letter of 1 dead letter"
    assert message.link == "https://metrion.example.com/health"


async def test_models_without_a_price_are_named(alerts: Alerts, account: str) -> None:
    engine = await alerts.engine(Recorder(), has_details=True)
    now = datetime.now(UTC)
    before = await value(engine, "unpriced", now)
    model = f"new-{uuid.uuid4().hex[:6]}"
    unpriced = {"model": model, "cost": None, "cost_source": "none"}
    await alerts.store(
        *line.requests(account, now - timedelta(hours=3), 50, **unpriced, cost_reason="unknown_model"),
        line.request(account, now - timedelta(hours=3), **unpriced, cost_reason="interrupted"),
        line.request(account, now - timedelta(days=2), **unpriced, cost_reason="unknown_model"),
    )
    assert await value(engine, "unpriced", now) == before + 50
    message = await engine.compose(rule("unpriced"), "alert", line.measured(50), at=now)
    assert (model, "50") in message.contributors


async def test_missing_events_are_distinguished_from_those_in_transit(alerts: Alerts, account: str) -> None:
    engine = await alerts.engine(Recorder())
    now = datetime.now(UTC)
    before = [await value(engine, measure, now) for measure in ("incomplete", "dropped")]

    def beat(minutes: int, sequence: int, *, dropped: int = 0) -> BeatRow:
        at = now - timedelta(minutes=minutes)
        return BeatRow(
            spool=account, epoch=1, gateway="gw", at=at, sequence=sequence, dropped=dropped, closing=False, pending_bytes=0
        )  # fmt: skip

    def event(sequence: int) -> RequestRow:
        row = line.request(account, now - timedelta(minutes=30), spool=account, sequence=sequence)
        return RequestRow(**{name: getattr(row, name) for name in RequestRow.__struct_fields__})

    stored = [event(sequence) for sequence in (1, 2, 3, 5, 6)]  # 4 is missing; 7 and 8 were dropped, 9 and 10 are young
    beats = [beat(60, 0), beat(20, 8, dropped=2), beat(1, 10, dropped=2)]
    assert not await insert.insert(alerts.client, [*stored, *beats])
    assert [await value(engine, measure, now) for measure in ("incomplete", "dropped")] == [
        before[0] + 1,
        before[1] + 2,
    ]


async def test_a_silent_gateway_counts_as_one(alerts: Alerts, account: str) -> None:
    engine = await alerts.engine(Recorder())
    now = datetime.now(UTC)
    before = await value(engine, "incomplete", now)
    for spool, closing in ((account, False), (f"{account}x", True)):
        silent = BeatRow(
            spool=spool, epoch=1, gateway="gw", at=now - timedelta(minutes=30), sequence=0, dropped=0, closing=closing,
            pending_bytes=0,
        )  # fmt: skip
        assert not await insert.insert(alerts.client, [silent])
    assert await value(engine, "incomplete", now) == before + 1


async def test_a_final_heartbeat_below_an_earlier_one_does_not_count(alerts: Alerts, account: str) -> None:
    """What the next start found in an older copy of the outbox."""
    engine = await alerts.engine(Recorder())
    now = datetime.now(UTC)
    before = await value(engine, "incomplete", now)
    for minutes, sequence, closing in ((40, 12, False), (30, 6, True)):
        beat = BeatRow(
            spool=account, epoch=1, gateway="gw", at=now - timedelta(minutes=minutes), sequence=sequence, dropped=12,
            closing=closing, pending_bytes=0,
        )  # fmt: skip
        assert not await insert.insert(alerts.client, [beat])
    assert await value(engine, "incomplete", now) == before + 1


async def test_prices_grow_old(alerts: Alerts) -> None:
    engine = await alerts.engine(Recorder())
    ages = [await value(engine, "price_age", datetime(2027, 1, day, tzinfo=UTC)) for day in (1, 31)]
    assert ages[1] - ages[0] == 30


async def test_figures_of_budgets_that_are_late_are_seen(
    alerts: Alerts, broker: servers.NatsServer, account: str
) -> None:
    engine = await alerts.engine(Recorder())
    now = alerts.clock.now
    made = now - timedelta(hours=1)
    limit = Limit(
        account=account, name="b", created_at=made, amount=Decimal(5), measure="cost", period="month"
    )  # fmt: skip
    admin = await connect(broker.url("admin"), service="admin")
    js = admin.jetstream()
    await js.publish(f"$KV.accounts.{LIMIT_KEY}{account}.b", msgspec.json.encode(limit))

    async def is_never_computed() -> bool:
        return await value(engine, "drift", now) == 3600

    await lines.until(is_never_computed, "the budget")
    await js.publish(SPEND_SUBJECT + account, encode(FigureProgress(1, now - timedelta(seconds=30))))
    await admin.close()
    assert await value(engine, "drift", now) == 30
