"""Alert rules over real requests: which messages are sent, to whom, and never twice."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from services.logger.alerts import rules
from services.logger.alerts.bucket import Bucket
from services.logger.alerts.channels import Message
from services.logger.alerts.engine import Engine
from shared import rollup
from shared.alerts.model import SYSTEM, AlertRule, Sent, subject_key
from shared.limits.model import Scope
from shared.process import cancel_and_wait
from tests.support import alert_line as line
from tests.support import event_line as lines
from tests.support.alert_line import Alerts, Recorder

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


async def test_each_level_is_sent_once_and_recovery_when_the_month_turns(alerts: Alerts, account: str) -> None:
    rule = line.rule(account)
    sender = Recorder()
    await alerts.put(line.channel(account), rule)
    engine = await alerts.engine(sender)
    await alerts.store(*line.requests(account, NOW - HOUR, 8))
    await line.turn(engine, rule)
    assert sender.levels == []
    await alerts.store(line.request(account, NOW - HOUR))
    for _ in range(2):
        await line.turn(engine, rule)
        assert sender.levels == [("ops", "warning", "")]
    await alerts.store(*line.requests(account, NOW - HOUR, 3))
    for _ in range(2):
        await line.turn(engine, rule)
        assert sender.levels[1:] == [("ops", "alert", "")]
    alerts.clock.now = datetime(2026, 12, 1, 0, 5, tzinfo=UTC)
    for _ in range(2):
        await line.turn(engine, rule)
        assert sender.levels[2:] == [("ops", "recovered", "")]
    assert [entry.level for entry in await alerts.history(account, "one")] == ["warning", "alert", "recovered"]
    message = sender.sent[1][1]
    assert (message.value, message.threshold) == ("USD 12.00", "USD 10.00")
    assert len({message.key for _, message in sender.sent}) == 1


async def test_two_loggers_send_each_level_once(alerts: Alerts, account: str) -> None:
    rule = line.rule(account)
    senders = [Recorder(), Recorder()]
    await alerts.put(line.channel(account), rule)
    engines = [await alerts.engine(sender) for sender in senders]
    await alerts.store(*line.requests(account, NOW - HOUR, 12))
    for _ in range(5):
        await asyncio.gather(*(line.turn(engine, rule) for engine in engines))
    assert senders[0].levels + senders[1].levels == [("ops", "alert", "")]


async def test_a_level_that_lasts_is_sent_again_after_the_cooldown(alerts: Alerts, account: str) -> None:
    rule = line.rule(account, cooldown_hours=24)
    sender = Recorder()
    await alerts.put(line.channel(account), rule)
    engine = await alerts.engine(sender)
    await alerts.store(*line.requests(account, NOW - HOUR, 12))
    for hours, count in ((0, 1), (23, 1), (0.9, 1), (0.2, 2), (23, 2)):
        alerts.clock.forward(hours=hours)
        await line.turn(engine, rule)
        assert len(sender.sent) == count, hours
    assert {message.level for _, message in sender.sent} == {"alert"}


async def test_a_value_that_flaps_sends_one_message_within_the_cooldown(alerts: Alerts, account: str) -> None:
    rule = line.rule(account, measure="requests", period="1h", threshold=Decimal(5), warn_percent=0)
    sender = Recorder()
    await alerts.put(line.channel(account), rule)
    engine = await alerts.engine(sender)
    for _ in range(3):
        await alerts.store(*line.requests(account, alerts.clock.now - HOUR / 2, 6))
        await line.turn(engine, rule)
        alerts.clock.forward(hours=2)
        await line.turn(engine, rule)
    assert [level for _, level, _ in sender.levels] == ["alert", "recovered"]
    alerts.clock.forward(hours=24)
    await alerts.store(*line.requests(account, alerts.clock.now - HOUR / 2, 6))
    await line.turn(engine, rule)
    alerts.clock.forward(hours=2)
    await line.turn(engine, rule)
    assert [level for _, level, _ in sender.levels][2:] == ["alert", "recovered"]


async def test_a_day_begins_anew_in_its_time_zone(alerts: Alerts, account: str) -> None:
    rule = line.rule(account, period="day", timezone="Asia/Kathmandu")  # midnight is 18:15 UTC
    sender = Recorder()
    await alerts.put(line.channel(account), rule)
    engine = await alerts.engine(sender)
    alerts.clock.now = datetime(2026, 11, 20, 18, tzinfo=UTC)
    await alerts.store(*line.requests(account, alerts.clock.now, 12))
    await line.turn(engine, rule)
    assert [level for _, level, _ in sender.levels] == ["alert"]
    alerts.clock.forward(minutes=14)
    await line.turn(engine, rule)
    assert len(sender.sent) == 1
    alerts.clock.forward(minutes=2)
    await line.turn(engine, rule)
    assert [level for _, level, _ in sender.levels] == ["alert", "recovered"]
    await alerts.store(*line.requests(account, alerts.clock.now, 12))
    await line.turn(engine, rule)
    assert [level for _, level, _ in sender.levels] == ["alert", "recovered", "alert"], "a new day, within 24 hours"


async def test_a_logger_that_dies_before_sending_loses_no_message(alerts: Alerts, account: str) -> None:
    rule = line.rule(account)
    dying, sender = Recorder(), Recorder()

    async def die(_: str, __: Message) -> None:
        raise asyncio.CancelledError

    dying.before = die
    await alerts.put(line.channel(account), rule)
    first, second = await alerts.engine(dying), await alerts.engine(sender)
    await alerts.store(*line.requests(account, NOW - HOUR, 12))
    with pytest.raises(asyncio.CancelledError):
        await line.turn(first, rule)
    await line.turn(second, rule)
    assert sender.levels == [], "the lock of the first one lasts"
    alerts.clock.forward(seconds=31)
    for _ in range(2):
        await line.turn(second, rule)
        assert sender.levels == [("ops", "alert", "")]


async def test_a_logger_that_dies_after_sending_repeats_only_what_receivers_recognise(
    alerts: Alerts, account: str
) -> None:
    """Of what was not noted as reached: whether a mailbox got it stays unknown."""
    rule = line.rule(account, channels=("chat", "hook", "mail", "pager"))
    kinds = {"chat": "slack", "hook": "webhook", "mail": "email", "pager": "pagerduty"}
    dying, sender = Recorder(), Recorder()

    async def die(name: str, __: Message) -> None:
        if name != "chat":
            while not await is_noted():
                await asyncio.sleep(0.05)
            raise asyncio.CancelledError

    async def is_noted() -> bool:
        value, _ = await Bucket(alerts.nc.jetstream()).get(f"sent.{account}.one.-.alert")
        sent = msgspec.json.decode(value or b"null", type=Sent | None)
        return sent is not None and (sent.reached, {*sent.sending}) == (("chat",), {"hook", "mail", "pager"})

    dying.after = die
    await alerts.put(*(line.channel(account, name, kind) for name, kind in kinds.items()), rule)
    first, second = await alerts.engine(dying), await alerts.engine(sender)
    await alerts.store(*line.requests(account, NOW - HOUR, 12))
    with pytest.raises(asyncio.CancelledError):
        await line.turn(first, rule)
    alerts.clock.forward(seconds=31)
    for _ in range(2):
        await line.turn(second, rule)
        assert sorted(name for name, _ in sender.sent) == ["hook", "pager"]
    assert sorted(name for name, _ in dying.sent) == ["chat", "hook", "mail", "pager"]
    assert len({(message.key, message.level, message.at) for _, message in dying.sent + sender.sent}) == 1
    (entry,) = await alerts.history(account, "one")
    assert sorted(entry.reached) == ["chat", "hook", "pager"]
    assert list(entry.failed) == ["mail"] and "unknown whether it arrived" in entry.failed["mail"]


async def test_a_channel_that_fails_is_noted_and_retried_without_the_others(alerts: Alerts, account: str) -> None:
    rule = line.rule(account, channels=("mail", "ops", "gone"))
    sender = Recorder()
    sender.failing = {"ops"}
    await alerts.put(line.channel(account, "mail"), line.channel(account, "ops"), rule)
    engine = await alerts.engine(sender)
    await alerts.store(*line.requests(account, NOW - HOUR, 12))
    for _ in range(2):
        await line.turn(engine, rule)
        assert sender.levels == [("mail", "alert", "")]
    (entry,) = await alerts.history(account, "one")
    assert entry.reached == ("mail",)
    assert entry.failed == {"ops": "refused by the receiver", "gone": "the channel does not exist"}
    sender.failing = set()
    alerts.clock.forward(minutes=2)
    await line.turn(engine, rule)
    assert sender.levels == [("mail", "alert", ""), ("ops", "alert", "")]
    assert (await alerts.history(account, "one"))[-1].reached == ("mail", "ops")


async def test_a_channel_that_was_not_reached_gets_the_message_later(alerts: Alerts, account: str) -> None:
    rule = line.rule(account)
    sender = Recorder()
    sender.failing = {"ops"}
    await alerts.put(line.channel(account), rule)
    engine = await alerts.engine(sender)
    await alerts.store(*line.requests(account, NOW - HOUR, 12))
    await line.turn(engine, rule)
    sender.failing = set()
    for minutes, count in ((0.5, 0), (1, 1), (1, 1)):
        alerts.clock.forward(minutes=minutes)
        await line.turn(engine, rule)
        assert len(sender.sent) == count


async def test_each_requester_is_watched_by_one_rule(alerts: Alerts, account: str) -> None:
    rule = line.rule(account, by="requester")
    sender = Recorder()
    await alerts.put(line.channel(account), rule)
    engine = await alerts.engine(sender)
    await alerts.store(
        *line.requests(account, NOW - HOUR, 12, requester="ann"),
        *line.requests(account, NOW - HOUR, 9, requester="Zoë * >"),
        *line.requests(account, NOW - HOUR, 5, requester="bob"),
        *line.requests(account, NOW - HOUR, 20, requester=""),
    )
    for _ in range(2):
        await line.turn(engine, rule)
        assert sorted(sender.levels) == [("ops", "alert", "ann"), ("ops", "warning", "Zoë * >")]
    assert len({message.key for _, message in sender.sent}) == 2
    assert "requester=ann" in sender.sent[0][1].link


async def test_many_subjects_share_one_message_an_hour(alerts: Alerts, account: str) -> None:
    rule = line.rule(account, by="requester", measure="requests", period="2h", threshold=Decimal(1), warn_percent=0)
    sender = Recorder()
    await alerts.put(line.channel(account), rule)
    engine = await alerts.engine(sender)
    clock = alerts.clock

    async def crowd(first: int, last: int) -> None:
        made = [
            request
            for number in range(first, last)
            for request in line.requests(account, clock.now - HOUR / 6, 100 - number, requester=f"r{number:02}")
        ]
        await alerts.store(*made)

    await crowd(0, 30)
    for _ in range(3):
        await line.turn(engine, rule)
        assert [subject for _, _, subject in sender.levels] == [*(f"r{number:02}" for number in range(10)), ""]
    digest = sender.sent[-1][1]
    assert digest.title == f"Alert: one of {account}: 20 requesters at 1 request"
    assert [name for name, _ in digest.contributors] == [f"r{number}" for number in range(10, 15)]
    await crowd(30, 40)
    await line.turn(engine, rule)
    assert len(sender.sent) == 11, "the next digest is due in an hour"
    clock.forward(minutes=61)
    await crowd(0, 50)
    for _ in range(2):
        await line.turn(engine, rule)
        assert [subject for _, _, subject in sender.levels][11:] == [*(f"r{number:02}" for number in range(30, 40)), ""]
    assert sender.sent[-1][1].value == "10 requesters"
    clock.forward(hours=5)
    for _ in range(2):
        await line.turn(engine, rule)
        recovered = [message for _, message in sender.sent[22:] if message.level == "recovered"]
        assert len({message.subject for message in recovered}) == len(recovered) == 11
        assert recovered[-1].value == "10 requesters"
    clock.forward(hours=1)
    for _ in range(2):
        await line.turn(engine, rule)
        assert "each requester of the digest has recovered" in sender.sent[-1][1].title
        assert len(sender.sent) == 22 + 12


@pytest.mark.parametrize("kind", ["webhook", "pagerduty"])
async def test_many_that_recover_at_once_share_a_message(alerts: Alerts, account: str, kind: Any) -> None:
    rule = line.rule(account, by="requester", threshold=Decimal(1))
    sender = Recorder()
    await alerts.put(msgspec.structs.replace(line.channel(account), kind=kind), rule)
    engine = await alerts.engine(sender)
    for hour in range(3):
        names = [f"r{hour}{number}" for number in range(10)]
        await alerts.store(*(line.request(account, alerts.clock.now - HOUR / 2, requester=name) for name in names))
        await line.turn(engine, rule)
        alerts.clock.forward(hours=1.1)
    assert [level for _, level, _ in sender.levels] == 30 * ["alert"]
    alerts.clock.now = datetime(2026, 12, 1, 0, 5, tzinfo=UTC)
    for _ in range(2):
        await line.turn(engine, rule)
        recovered = [message for _, message in sender.sent[30:]]
        assert {message.level for message in recovered} == {"recovered"}
        if kind == "pagerduty":
            assert len({message.subject for message in recovered}) == len(recovered) == 30
        else:
            assert len(recovered) == 11
            assert recovered[-1].title == f"Recovered: one of {account}: 20 requesters have recovered"


async def test_a_digest_that_fails_is_continued(alerts: Alerts, account: str) -> None:
    rule = line.rule(account, by="requester", threshold=Decimal(1), channels=("mail", "ops"))
    sender = Recorder()
    await alerts.put(line.channel(account, "mail"), line.channel(account), rule)
    engine = await alerts.engine(sender)
    await alerts.store(*(line.request(account, NOW - HOUR, requester=f"r{number:02}") for number in range(12)))
    sender.failing = {"ops"}
    await line.turn(engine, rule)
    assert [(name, message.subject) for name, message in sender.sent][-1] == ("mail", "")
    sender.failing = set()
    for minutes in (2, 2, 2):
        alerts.clock.forward(minutes=minutes)
        await line.turn(engine, rule)
    digests = [name for name, message in sender.sent if not message.subject]
    assert digests == ["mail", "ops"]


async def test_subjects_beyond_the_largest_are_no_longer_found_but_not_recovered(
    alerts: Alerts, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "MOST", 3)
    rule = line.rule(account, by="requester", measure="requests", threshold=Decimal(5))
    sender = Recorder()
    await alerts.put(line.channel(account), rule)
    engine = await alerts.engine(sender)
    await alerts.store(*line.requests(account, NOW - HOUR, 6, requester="ann"))
    await line.turn(engine, rule)
    for name in ("bob", "cat", "dan"):
        await alerts.store(*line.requests(account, NOW - HOUR, 7, requester=name))
    await line.turn(engine, rule)
    assert {(level, subject) for _, level, subject in sender.levels} == {
        ("alert", name) for name in ("ann", "bob", "cat", "dan")
    }


@pytest.mark.parametrize("period", ["1h", "1d"])
@pytest.mark.parametrize("measure", ["error_rate", "latency_p95", "cost_per_request"])
async def test_subjects_with_too_few_requests_hide_no_others(
    alerts: Alerts, account: str, monkeypatch: pytest.MonkeyPatch, measure: str, period: str
) -> None:
    monkeypatch.setattr(rules, "MOST", 3)
    rule = line.rule(account, by="requester", measure=measure, period=period, threshold=Decimal(1), minimum=10)
    sender = Recorder()
    await alerts.put(line.channel(account), rule)
    engine = await alerts.engine(sender)
    rare: dict[str, Any] = {"latency_ms": 9000, "cost": Decimal(9)}
    failing = {"status": 500} if measure == "error_rate" else {}
    for name in ("rare-1", "rare-2", "rare-3", "rare-4"):
        await alerts.store(line.request(account, NOW - HOUR / 2, requester=name, **rare, **failing))
    await line.turn(engine, rule)
    assert sender.levels == []
    assert alerts_level(engine, rule) == "ok", "too few requests to judge by"
    await alerts.store(*line.requests(account, NOW - HOUR / 2, 10, requester="often", cost=Decimal(2), **failing))
    await line.turn(engine, rule)
    assert sender.levels == [("ops", "alert", "often")]
    assert alerts_level(engine, rule) == "alert"


def alerts_level(engine: Engine, rule: AlertRule) -> str:
    """The level that lists show for a rule as a whole."""
    return engine.records.states[f"{rule.account}.{rule.name}.-"].level


async def test_states_are_not_rewritten_all_the_time(alerts: Alerts, account: str) -> None:
    rule = line.rule(account, by="requester", period="1h", measure="requests", threshold=Decimal(5))
    await alerts.put(line.channel(account), rule)
    engine = await alerts.engine(Recorder())
    js = alerts.nc.jetstream()

    async def revision(subject: str) -> int:
        message = await js.get_last_msg("KV_alerts", f"$KV.alerts.state.{account}.one.{subject_key(subject)}")
        assert message.seq
        return message.seq

    await alerts.store(*line.requests(account, NOW - HOUR / 2, 6))
    await line.turn(engine, rule)
    first = await revision("ann")
    for seconds, is_written in ((20, False), (50, True)):
        alerts.clock.forward(seconds=seconds)
        await alerts.store(line.request(account, alerts.clock.now))
        await line.turn(engine, rule)
        assert (await revision("ann") > first) is is_written
    alerts.clock.forward(hours=2)
    await line.turn(engine, rule)
    recovered = await revision("ann")
    alerts.clock.forward(days=2)
    await alerts.store(line.request(account, alerts.clock.now))
    await line.turn(engine, rule)
    assert await revision("ann") == recovered, "the state of a requester who is fine may vanish"


async def test_too_few_requests_are_not_judged(alerts: Alerts, account: str) -> None:
    rule = line.rule(account, measure="error_rate", threshold=Decimal(20), period="15m", minimum=10)
    sender = Recorder()
    await alerts.put(line.channel(account), rule)
    engine = await alerts.engine(sender)
    at = NOW - HOUR / 6
    await alerts.store(*line.requests(account, at, 4, status=500), *line.requests(account, at, 5))
    await line.turn(engine, rule)
    assert sender.sent == []
    await alerts.store(line.request(account, at))
    await line.turn(engine, rule)
    assert [(message.level, message.value) for _, message in sender.sent] == [("alert", "40 %")]


async def test_a_forecast_warns_before_the_budget_is_spent(alerts: Alerts, account: str) -> None:
    rule = line.rule(account, is_forecast=True, threshold=Decimal(100))
    plain = line.rule(account, "two", threshold=Decimal(100))
    sender = Recorder()
    await alerts.put(line.channel(account), rule, plain)
    engine = await alerts.engine(sender)
    start = datetime(2026, 11, 1, tzinfo=UTC)
    await alerts.store(*line.requests(account, start, 30))
    alerts.clock.now = start + timedelta(days=2)
    await line.turn(engine, rule)
    assert sender.sent == [], "nothing is forecast in the first tenth of a period"
    alerts.clock.now = start + timedelta(days=6)
    await line.turn(engine, rule)
    await line.turn(engine, plain)
    ((_, message),) = sender.sent
    assert (message.level, message.forecast) == ("alert", "USD 150.00 by the end of the month")
    assert "will reach USD 150.00" in message.text


async def test_the_message_says_who_and_what_changed(alerts: Alerts, account: str) -> None:
    rule = line.rule(account)
    sender = Recorder()
    await alerts.put(line.channel(account), rule)
    engine = await alerts.engine(sender, has_details=True)
    october = datetime(2026, 10, 5, tzinfo=UTC)
    late = datetime(2026, 10, 28, tzinfo=UTC)
    for number, name in enumerate(("ann", "bob", "cat", "dan", "eve", "fay")):
        await alerts.store(*line.requests(account, NOW - HOUR, 10 - number, requester=name, model="gpt-5"))
    await alerts.store(
        *line.requests(account, october, 5, requester="ann"), *line.requests(account, late, 50, requester="ann")
    )
    await line.turn(engine, rule)
    message = sender.sent[0][1]
    assert message.contributors == (
        ("ann", "USD 10.00 (22 %, +100 %)"),
        ("bob", "USD 9.00 (20 %, new)"),
        ("cat", "USD 8.00 (18 %, new)"),
        ("dan", "USD 7.00 (16 %, new)"),
        ("eve", "USD 6.00 (13 %, new)"),
    )
    assert message.compared == "+800 % against last month up to the same time (USD 5.00)"
    assert "By model: gpt-5 USD 45.00" in message.text
    assert message.link.startswith(f"https://metrion.example.com/cost?account={account}&from=2026-11-01T00%3A00")


async def test_a_rule_reads_only_the_rows_of_its_account(alerts: Alerts, account: str) -> None:
    other = line.new_account()
    await alerts.store(
        *line.requests(other, NOW - HOUR / 4, 50, requester="mallory", status=500, latency_ms=90_000, ttfb_ms=9_000),
        *line.requests(other, NOW - HOUR / 4, 50, requester="mallory", latency_ms=90_000, ttfb_ms=9_000),
    )
    sender = Recorder()
    await alerts.put(line.channel(account))
    engine = await alerts.engine(sender)
    measures = (
        "cost",
        "requests",
        "tokens",
        "errors",
        "error_rate",
        "latency_p95",
        "first_byte_p95",
        "cost_per_request",
    )
    for measure in measures:
        for period in ("month", "1h"):
            for by in ("", "requester"):
                rule = line.rule(account, measure=measure, period=period, by=by)
                assert await engine.measure(rule, NOW) == []
                assert [
                    one.value > 0 for one in await engine.measure(msgspec.structs.replace(rule, account=other), NOW)
                ]
                message = await engine.compose(rule, "alert", line.measured(5), at=NOW)
                assert "mallory" not in str(message)


async def test_a_rule_of_all_accounts_watches_each(alerts: Alerts, account: str) -> None:
    other = line.new_account()
    rule = line.rule(SYSTEM, account.replace("a", "b", 1), by="account", threshold=Decimal(9_000_000))
    sender = Recorder()
    await alerts.put(line.channel(SYSTEM), rule)
    engine = await alerts.engine(sender, has_details=True)
    await alerts.store(
        *line.requests(account, NOW - HOUR, 10, cost=Decimal(1_000_000)),
        *line.requests(other, NOW - HOUR, 5, requester="eve"),
    )
    await line.turn(engine, rule)
    ((_, message),) = sender.sent
    assert (message.subject, message.value) == (account, "USD 10,000,000.00")
    assert message.contributors == (("ann", "USD 10,000,000.00 (100 %, new)"),)
    assert f"account={account}&" in message.link
    whole = msgspec.structs.replace(rule, by="")
    (found,) = await engine.measure(whole, NOW)
    assert found.value >= 10_000_005


@pytest.mark.parametrize("is_rolled_up", [False, True])
async def test_measures_are_those_of_the_requests(alerts: Alerts, account: str, is_rolled_up: bool) -> None:
    at = NOW - HOUR / 4
    await alerts.store(
        *line.requests(account, at, 6, latency_ms=1000, ttfb_ms=200),
        *line.requests(account, at, 2, status=500, cost=None, cost_reason="error", input_tokens=None),
        *line.requests(account, at, 2, model="claude-sonnet-4-5", metadata={"team": "blue"}, token="ci"),
    )
    if is_rolled_up:
        await rollup.refresh(alerts.client)
    engine = await alerts.engine(Recorder())

    async def value(measure: str, **fields: Any) -> Decimal:
        rule = line.rule(account, measure=measure, **fields)
        (found,) = await engine.measure(rule, NOW)
        return found.value

    for period in ("month", "week", "day", "30d", "1h", "30m"):
        assert await value("cost", period=period) == 8
        assert await value("cost", period=period, currency="EUR", rate=Decimal("0.5")) == 4
        assert await value("requests", period=period) == 10
        assert await value("tokens", period=period) == 8 * 30 + 2 * 20
        assert await value("errors", period=period) == 2
        assert await value("error_rate", period=period) == 20
        assert await value("cost_per_request", period=period) == 1
        assert await value("latency_p95", period=period) == 1000
        assert await value("first_byte_p95", period=period) == 200
        assert await value("requests", period=period, scope=Scope(model="claude-*")) == 2
        assert await value("requests", period=period, scope=Scope(token="ci", provider="openai")) == 2
        assert await value("requests", period=period, scope=Scope(metadata_key="team", metadata_value="blue")) == 2


async def test_receivers_that_hang_hold_back_only_rules_of_their_account(
    alerts: Alerts, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = line.new_account()
    sender = Recorder()

    async def hang(name: str, _: Message) -> None:
        if name == "hangs":
            await asyncio.Event().wait()

    sender.before = hang
    hanging = [line.rule(account, f"r{number}", channels=("hangs",)) for number in range(6)]
    await alerts.store(*line.requests(account, NOW - HOUR, 12), *line.requests(other, NOW - HOUR, 12))
    engine = await alerts.engine(sender)
    await alerts.put(line.channel(account, "hangs"), *hanging)
    monkeypatch.setattr(engine.records, "follow", lambda _: asyncio.Event().wait())  # the fixture does
    running = asyncio.create_task(engine.run())

    async def is_locked() -> bool:
        return sum([(await Bucket(alerts.nc.jetstream()).get(key))[1] > 0 for key in locks]) == 4

    locks = [f"sent.{account}.{rule.name}.-.alert" for rule in hanging]
    try:
        await lines.until(is_locked, "four rules that wait for their receiver")
        await alerts.put(line.channel(other), line.rule(other))

        async def is_sent() -> bool:
            return [message.level for _, message in sender.sent if message.account == other] == ["alert"]

        await lines.until(is_sent, "the message of another account")
        assert await is_locked(), "an account has four rules at once"
    finally:
        await cancel_and_wait(running)


async def test_no_message_is_begun_that_might_be_cut_off(
    alerts: Alerts, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.logger.alerts.engine._MESSAGE_SECONDS", 1000)
    rule = line.rule(account, by="requester", threshold=Decimal(1))
    sender = Recorder()
    await alerts.put(line.channel(account), rule)
    engine = await alerts.engine(sender)
    await alerts.store(*(line.request(account, NOW - HOUR, requester=name) for name in ("ann", "bob", "cat")))
    for count in (1, 2, 3, 3):
        await line.turn(engine, rule)
        assert [subject for _, _, subject in sender.levels] == ["ann", "bob", "cat"][:count]
