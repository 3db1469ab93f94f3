"""The test button: over NATS, once in 12 hours a rule, with an answer that says what was reached."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from services.logger.alerts.channels import Message
from services.logger.alerts.trial import Trials
from shared.alerts.model import SYSTEM, TEST_SUBJECT, TrialReply, TrialRequest
from shared.nats_client import connect
from tests.support import alert_line as line
from tests.support import event_line as lines
from tests.support import servers
from tests.support.alert_line import Alerts, Recorder

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture
async def sender(alerts: Alerts) -> AsyncIterator[Recorder]:
    """The sender of two loggers that answer requests."""
    found = Recorder()
    engines = [await alerts.engine(found), await alerts.engine(found)]
    async with (
        Trials(alerts.nc, engines[0], clock=alerts.clock).answering(),
        Trials(alerts.nc, engines[1], clock=alerts.clock).answering(),
    ):
        yield found


async def tried(broker: servers.NatsServer, account: str, rule: str, *, user: str = "admin") -> TrialReply:
    nc = await connect(broker.url(user), service=user)
    try:
        data = msgspec.json.encode(TrialRequest(account, rule))
        reply = await nc.request(TEST_SUBJECT, data, timeout=servers.DEADLINE)
        return msgspec.json.decode(reply.data, type=TrialReply)
    finally:
        await nc.close()


async def known(broker: servers.NatsServer, account: str, rule: str) -> None:
    async def is_known() -> bool:
        return (await tried(broker, account, rule)).error != "the rule does not exist"

    await lines.until(is_known, "the rule")


@pytest.mark.parametrize("user", ["admin", "dashboard"])
async def test_a_test_says_what_it_has_reached_and_is_possible_once(
    alerts: Alerts, broker: servers.NatsServer, account: str, sender: Recorder, user: str
) -> None:
    sender.failing = {"mail"}
    rule = line.rule(account, channels=("ops", "mail"), is_paused=True)
    await alerts.store(*line.requests(account, NOW - timedelta(hours=1), 3))
    await alerts.put(line.channel(account), line.channel(account, "mail"), rule)
    reply = TrialReply(error="the rule does not exist")
    while reply.error == "the rule does not exist" or "mail" in reply.failed.get("ops", ""):
        reply = await tried(broker, account, "one", user=user)
    assert reply == TrialReply(reached=("ops",), failed={"mail": "refused by the receiver"})
    ((_, message),) = sender.sent
    assert (message.level, message.value) == ("test", "USD 3.00")
    assert message.title == f"Test: one of {account}: this is a test"
    again = await tried(broker, account, "one", user=user)
    assert again.error == "it was tested already at 2026-11-20 12:00 UTC; a rule can be tested once in 12 hours"
    assert len(sender.sent) == 1
    (entry,) = await alerts.history(account, "one")
    assert (entry.level, entry.reached) == ("test", ("ops",))


async def test_a_test_message_that_reached_no_channel_can_be_repeated_soon(
    alerts: Alerts, broker: servers.NatsServer, account: str, sender: Recorder
) -> None:
    sender.failing = {"ops"}
    await alerts.put(line.channel(account), line.rule(account))
    await known(broker, account, "one")
    js = alerts.nc.jetstream()
    message = await js.get_last_msg("KV_alerts", f"$KV.alerts.tried.{account}.one")
    assert message.headers
    assert message.headers["Nats-TTL"] == "30"


async def test_a_test_does_not_wait_for_receivers_of_another(
    alerts: Alerts, broker: servers.NatsServer, account: str, sender: Recorder
) -> None:
    released = asyncio.Event()
    begun = []

    async def hang(name: str, message: Message) -> None:
        if name == "hangs":
            begun.append(message.rule)
            await released.wait()

    async def are_busy() -> bool:
        return len(begun) >= 2

    sender.before = hang
    hanging = [line.rule(account, f"r{number}", channels=("hangs",)) for number in range(6)]
    await alerts.put(line.channel(account), line.channel(account, "hangs"), *hanging, line.rule(account))
    waiting = [asyncio.create_task(known(broker, account, rule.name)) for rule in hanging]
    await lines.until(are_busy, "both loggers that wait for a receiver")
    await known(broker, account, "one")
    assert sender.levels == [("ops", "test", "")]
    released.set()
    await asyncio.gather(*waiting)


@pytest.mark.parametrize(
    ("account", "rule", "error"),
    [
        ("nobody", "one", "the rule does not exist"),
        (SYSTEM, "dead-letters", "the rule does not exist"),
        ("", "", "does not exist"),
    ],
)
async def test_what_cannot_be_tested_is_refused(
    broker: servers.NatsServer, sender: Recorder, account: str, rule: str, error: str
) -> None:
    assert error in (await tried(broker, account, rule)).error


async def test_an_unreadable_request_is_answered(broker: servers.NatsServer, sender: Recorder) -> None:
    nc = await connect(broker.url("admin"), service="admin")
    reply = await nc.request(TEST_SUBJECT, b"\xff{", timeout=servers.DEADLINE)
    assert msgspec.json.decode(reply.data, type=TrialReply).error == "the request cannot be read"
    await asyncio.wait_for(nc.close(), servers.DEADLINE)
