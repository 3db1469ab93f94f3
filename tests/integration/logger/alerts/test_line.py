"""Whole loggers with alerts: from an event in NATS to a webhook and an e-mail, through kills."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from aiohttp import web
from aiosmtpd.smtp import SMTP, Envelope, Session
from nats.aio.client import Client

from shared.alerts.model import ALERTS_STREAM, CHANNEL_KEY, HISTORY_KEY, RULE_KEY, AlertRule, Channel, Entry
from shared.nats_client import connect
from shared.vault import Vault, new_key
from tests.support import alert_line, servers
from tests.support import alert_messages as messages
from tests.support import event_line as lines

KEY = new_key()
# A logger that is killed when a receiver has got its message, before that is noted.
KILLED_AFTER_SENDING = """
import os, signal
from services.logger.alerts import channels
send = channels.Sender.send
async def once(self, channel, message, **begin):
    await send(self, channel, message, **begin)
    os.kill(os.getpid(), signal.SIGKILL)
channels.Sender.send = once
import services.logger.__main__
"""
# One that is killed when it holds the lock, before it sends.
KILLED_BEFORE_SENDING = """
import os, signal
from services.logger.alerts import channels
async def once(self, channel, message, **begin):
    os.kill(os.getpid(), signal.SIGKILL)
channels.Sender.send = once
import services.logger.__main__
"""
# One whose locks last two seconds, and that looks every two seconds, so that the test need not wait for minutes.
IMPATIENT = """
from datetime import timedelta
from services.logger.alerts import engine, progress, rule_lease, schedule
progress.CLAIM = rule_lease.DURATION = timedelta(seconds=2)
engine._PAUSE = 0.0
schedule.Schedule.__init__.__kwdefaults__["debounce"] = timedelta(seconds=2)
{}
import services.logger.__main__
"""


class Receivers:
    """A web server and a mail server that keep what they are sent."""

    def __init__(self) -> None:
        self.posts: list[dict[str, Any]] = []
        self.mails: list[str] = []
        self._runner: web.AppRunner | None = None
        self._mail: asyncio.Server | None = None
        self.url = ""
        self.smtp_url = ""

    async def start(self) -> None:
        app = web.Application()
        app.add_routes([web.post("/hook", self._post)])
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/hook"
        loop = asyncio.get_running_loop()
        self._mail = await loop.create_server(lambda: SMTP(self, hostname="mx", loop=loop), "127.0.0.1", 0)
        self.smtp_url = f"smtp://127.0.0.1:{self._mail.sockets[0].getsockname()[1]}"

    async def _post(self, request: web.Request) -> web.Response:
        self.posts.append(json.loads(await request.read()))
        return web.Response(text="ok")

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        self.mails.append(envelope.content.decode())
        return "250 OK"

    async def stop(self) -> None:
        assert self._runner and self._mail
        self._mail.close()
        await self._runner.cleanup()

    def levels(self, account: str) -> list[tuple[str, str]]:
        return [(post["level"], post["subject"]) for post in self.posts if post["account"] == account]


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[lines.Line]:
    with (
        servers.nats_server(tmp_path_factory.mktemp("nats")) as broker,
        servers.clickhouse_server(tmp_path_factory.mktemp("clickhouse")) as engine,
    ):
        asyncio.run(servers.provision(broker, redeliver_after=3))
        yield lines.Line(broker, engine)


@pytest.fixture
async def bus(line: lines.Line) -> AsyncIterator[Client]:
    connection = await connect(line.nats.url("admin"), service="admin")
    yield connection
    await connection.close()


@pytest.fixture
async def receivers() -> AsyncIterator[Receivers]:
    found = Receivers()
    await found.start()
    yield found
    await found.stop()


@pytest.fixture
def account() -> str:
    return f"a{uuid.uuid4().hex[:12]}"


def settings(receivers: Receivers) -> dict[str, Any]:
    return {
        "secret_key": KEY,
        "webhook_allow_private": True,
        "smtp_url": receivers.smtp_url,
        "smtp_from": "metrion@example.com",
        "smtp_starttls": False,
        "dashboard_url": "https://metrion.example.com",
    }


async def put(bus: Client, *records: AlertRule | Channel) -> None:
    for record in records:
        key = RULE_KEY if isinstance(record, AlertRule) else CHANNEL_KEY
        data = msgspec.json.encode(record)
        await bus.jetstream().publish(f"$KV.alerts.{key}{record.account}.{record.name}", data)


def channels(account: str, receivers: Receivers) -> tuple[Channel, Channel]:
    made: dict[str, Any] = {"account": account, "vault": Vault.parse(KEY)}
    hook = messages.channel("webhook", receivers.url, name="hook", **made)
    return hook, messages.channel("email", name="mail", recipients=("ops@example.com",), **made)


def rule(account: str, **fields: Any) -> AlertRule:
    given: dict[str, Any] = {
        "created_at": datetime.now(UTC) - timedelta(hours=1),
        "measure": "requests",
        "threshold": Decimal(10),
        "channels": ("hook", "mail"),
    }
    return alert_line.rule(account, **given | fields)


async def history(bus: Client, account: str) -> list[Entry]:
    found = []
    for name in await _keys(bus, f"{HISTORY_KEY}{account}.>"):
        message = await bus.jetstream().get_last_msg(ALERTS_STREAM, name)
        found.append(msgspec.json.decode(message.data or b"", type=Entry))
    return found


async def _keys(bus: Client, pattern: str) -> list[str]:
    info = await bus.jetstream().stream_info(ALERTS_STREAM, subjects_filter=f"$KV.alerts.{pattern}")
    return sorted(info.state.subjects or {})


async def test_an_event_becomes_a_webhook_and_an_e_mail_once_over_two_loggers(
    line: lines.Line, bus: Client, receivers: Receivers, account: str
) -> None:
    given = settings(receivers)
    async with lines.logger(line.settings(**given)), lines.logger(line.settings(**given)):
        await lines.until(lambda: lines.provisioned(bus), "streams")
        await put(bus, *channels(account, receivers), rule(account, by="requester", threshold=Decimal(1)))
        await lines.ship(bus, [lines.packed(lines.traffic(account, 12))])
        await lines.stored(line, bus, account, 12)

        async def told() -> bool:
            return len(await history(bus, account)) >= 3

        await lines.until(told, "the messages")
        await asyncio.sleep(3)
    assert sorted(receivers.levels(account)) == [("alert", f"user{number}") for number in range(3)]
    assert len(receivers.mails) == 3
    post = receivers.posts[-1]
    assert post["link"].startswith(f"https://metrion.example.com/?account={account}")
    assert f"Alert: one of {account}" in post["title"]
    assert post["contributors"]


@pytest.mark.parametrize(
    ("program", "names"),
    [(KILLED_BEFORE_SENDING, ("hook", "mail")), (KILLED_AFTER_SENDING, ("hook",)), (KILLED_AFTER_SENDING, ("mail",))],
    ids=["before sending", "between webhook and noting", "between e-mail and noting"],
)
async def test_a_logger_killed_in_the_middle_of_an_alert_is_replaced(
    line: lines.Line, bus: Client, receivers: Receivers, account: str, program: str, names: tuple[str, ...]
) -> None:
    """A mailbox gets each level once; so does whoever reads webhooks by their id."""
    async with lines.logger(line.settings(**settings(receivers))):
        await lines.until(lambda: lines.provisioned(bus), "streams and tables")
    # now: stopped in the middle, that logger had its turn
    await put(bus, *channels(account, receivers), rule(account, channels=names))
    killed = _start(line, receivers, IMPATIENT.format(program.replace("import services.logger.__main__", "")))
    try:
        await lines.ship(bus, [lines.packed(lines.traffic(account, 12))])
        assert await asyncio.to_thread(killed.wait, servers.DEADLINE) == -signal.SIGKILL
    finally:
        killed.kill()
        killed.wait()
    sent_before = program == KILLED_AFTER_SENDING
    assert len(receivers.levels(account)) + len(receivers.mails) == sent_before
    second = _start(line, receivers, IMPATIENT.format(""))
    try:

        async def is_done() -> bool:
            return bool(await history(bus, account))

        await lines.until(is_done, "the history")
        await asyncio.sleep(3)
    finally:
        second.send_signal(signal.SIGTERM)
        await asyncio.to_thread(second.wait, servers.DEADLINE)
    ours = [post for post in receivers.posts if post["account"] == account]
    assert {post["level"] for post in ours} <= {"alert"}
    assert len({post["id"] for post in ours}) == names.count("hook"), "what arrives twice says so"
    assert len(ours) == names.count("hook") * (2 if sent_before else 1)
    assert len(receivers.mails) == names.count("mail")
    (entry,) = await history(bus, account)
    is_unknown = sent_before and "mail" in names
    assert sorted(entry.reached) == ([] if is_unknown else sorted(names))
    assert [*entry.failed] == (["mail"] if is_unknown else [])


def _start(line: lines.Line, receivers: Receivers, program: str) -> "subprocess.Popen[bytes]":
    given = line.settings(**settings(receivers))
    environment = {
        **os.environ,
        "METRION_NATS_URL": given.nats_url,
        "METRION_CLICKHOUSE_URL": given.clickhouse_url,
        "METRION_LOGGER_OPS_PORT": "0",
        "METRION_REDELIVER_AFTER": "3",
        "METRION_SECRET_KEY": KEY,
        "METRION_WEBHOOK_ALLOW_PRIVATE": "true",
        "METRION_SMTP_URL": receivers.smtp_url,
        "METRION_SMTP_FROM": "metrion@example.com",
        "METRION_SMTP_STARTTLS": "false",
    }
    return subprocess.Popen([sys.executable, "-c", program], cwd=servers.ROOT, env=environment)


async def test_alerts_that_fail_do_not_keep_requests_from_being_stored(
    line: lines.Line, bus: Client, account: str
) -> None:
    await put(bus, rule(account, channels=("gone",)))
    await bus.jetstream().publish("$KV.alerts.rule.broken.one", b"{")
    await bus.jetstream().publish("$KV.alerts.channel.broken.one", b"\xff")
    async with lines.logger(line.settings(secret_key_file="/nonexistent")):
        await lines.until(lambda: lines.provisioned(bus), "streams")
        await lines.ship(bus, [lines.packed(lines.traffic(account, 12))])
        await lines.stored(line, bus, account, 12)
