"""What a logger sets aside, and what it leaves in the event stream, must never fill a stream for good or stop the line."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from nats.aio.client import Client
from nats.js import api
from prometheus_client import CollectorRegistry, Gauge

from services.dashboard.auth.sessions import Sessions
from services.logger import dead_letters, stream_purge
from services.logger.dead_letters import Halt
from services.logger.decode import BAD_EVENT, BadEvent
from services.logger.metrics import Metrics
from services.logger.service import run
from services.logger.settings import Settings
from shared import audit, dashboard_users, events, nats_client
from shared.process import cancel_and_wait
from tests.support import servers


@pytest.fixture
def server(tmp_path: Path) -> Iterator[servers.NatsServer]:
    with servers.nats_server(tmp_path / "nats") as found:
        yield found


@contextlib.asynccontextmanager
async def connected(server: servers.NatsServer, user: str) -> AsyncIterator[Client]:
    nc = await nats_client.connect(server.url(user), service="cli" if user == "admin" else user)
    try:
        yield nc
    finally:
        await nc.close()


async def _stored_and_acked(server: servers.NatsServer, messages: int, size: int) -> None:
    """Publish and acknowledge so many messages, as a gateway and a logger do."""
    async with connected(server, "gateway") as gateway, connected(server, "logger") as logger:
        for _ in range(messages):
            await gateway.jetstream().publish("metrion.events.g", bytes(size))
        js = logger.jetstream()
        line = await js.pull_subscribe_bind(events.LOGGER_CONSUMER, events.EVENTS_STREAM)
        left = messages
        while left:
            for message in await line.fetch(min(left, 100), timeout=servers.DEADLINE):
                await message.ack_sync()
                left -= 1


async def test_acked_messages_leave_the_stream_at_once_when_it_is_half_full(server: servers.NatsServer) -> None:
    """They would stay for 31 minutes, and new ones be refused while nothing is pending."""
    await servers.provision(server, max_bytes=1 << 20)
    await _stored_and_acked(server, 10, 40_000)
    metrics = Metrics(CollectorRegistry())
    async with connected(server, "logger") as logger:
        js = logger.jetstream()
        assert not await stream_purge.measure(js, metrics), "less than half"
        assert await stream_purge.purge(js) == 0
        await _stored_and_acked(server, 5, 40_000)
        async with connected(server, "gateway") as gateway:
            await gateway.jetstream().publish("metrion.events.g", bytes(40_000))  # nobody has stored it
        assert await stream_purge.measure(js, metrics)
        keeping = asyncio.create_task(stream_purge.forever(logger, metrics=metrics))
        async with asyncio.timeout(servers.DEADLINE):
            while (await js.stream_info(events.EVENTS_STREAM)).state.messages != 1:
                await asyncio.sleep(0.05)
        await cancel_and_wait(keeping)
    await _stored_and_acked(server, 20, 40_000)  # there is room again


def _gauge() -> Gauge:
    return Gauge("blocked", "", registry=CollectorRegistry())


async def test_a_dead_letter_beyond_what_a_message_may_hold_is_cut_and_says_so(server: servers.NatsServer) -> None:
    """It was tried for ever, and its batch was never acknowledged."""
    await servers.provision(server)
    piece = BadEvent(BAD_EVENT, "huge", b"x" * (9 << 20))
    async with connected(server, "logger") as logger, connected(server, "admin") as admin:
        await asyncio.wait_for(dead_letters.set_aside(logger, piece, sequence=1, blocked=_gauge()), servers.DEADLINE)
        letter = await admin.jetstream().get_last_msg(events.DEAD_STREAM, "metrion.dead.bad_event")
    assert letter.headers and letter.headers[dead_letters.CUT] == str(9 << 20)
    assert letter.data and letter.data == piece.data[: len(letter.data)] and len(letter.data) > 7 << 20


async def test_a_dead_letter_fits_a_stream_whose_limit_is_smaller(server: servers.NatsServer) -> None:
    await servers.provision(server)
    async with connected(server, "provision") as provision:
        config = (await provision.jetstream().stream_info(events.DEAD_STREAM)).config
        config.max_msg_size = 1 << 20
        await provision.jetstream().update_stream(config)
    async with connected(server, "logger") as logger:
        piece = BadEvent(BAD_EVENT, "huge", b"x" * (3 << 20))
        await asyncio.wait_for(dead_letters.set_aside(logger, piece, sequence=1, blocked=_gauge()), servers.DEADLINE)


async def test_full_dead_letters_lose_none_and_are_waited_for(server: servers.NatsServer) -> None:
    await servers.provision(server)
    async with connected(server, "provision") as provision:
        js = provision.jetstream()
        config = (await js.stream_info(events.DEAD_STREAM)).config
        assert config.discard == api.DiscardPolicy.NEW
        config.max_bytes = 100_000
        await js.update_stream(config)
    async with connected(server, "logger") as logger, connected(server, "admin") as admin:
        blocked = _gauge()
        await dead_letters.set_aside(logger, BadEvent(BAD_EVENT, "first", b"1" * 80_000), sequence=1, blocked=blocked)
        second = BadEvent(BAD_EVENT, "second", b"2" * 80_000)
        waiting = asyncio.create_task(dead_letters.set_aside(logger, second, sequence=2, blocked=blocked))
        async with asyncio.timeout(servers.DEADLINE):
            while not blocked._value.get():
                await asyncio.sleep(0.05)
        assert (await admin.jetstream().get_msg(events.DEAD_STREAM, 1)).data == b"1" * 80_000
        await admin.jetstream().purge_stream(events.DEAD_STREAM)
        await asyncio.wait_for(waiting, servers.DEADLINE)
        assert blocked._value.get() == 0


def test_halt_requires_many_bad_events_and_a_bad_majority() -> None:
    halt = Halt()
    for _ in range(1000):
        halt.count(good=99, bad=1)
    halt.count(good=0, bad=dead_letters.MANY)
    assert not halt, "somebody who can make bad events stops nobody"
    for _ in range(30):
        halt.count(good=0, bad=dead_letters.MANY)
    assert halt
    fresh = Halt()
    fresh.count(good=0, bad=dead_letters.MANY - 1)
    assert not fresh


async def test_a_release_that_can_read_nothing_halts_and_leaves_the_events_to_another(
    server: servers.NatsServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await servers.provision(server)
    with servers.clickhouse_server(tmp_path / "clickhouse") as clickhouse:
        settings = Settings(
            nats_url=server.url("logger"), clickhouse_url=clickhouse.url(), logger_ops_port=0, linger=0.0
        )
        stop = asyncio.Event()
        running = asyncio.create_task(run(settings, stop))
        async with connected(server, "admin") as admin:
            js = admin.jetstream()
            for number in range(40):
                bodies = [f"nothing of this release {number} {part}".encode() for part in range(50)]
                await js.publish("metrion.events.g", b"".join(events.frame(body) + body for body in bodies))
            async with asyncio.timeout(servers.DEADLINE):
                while "halted: most events cannot be read" not in caplog.text:
                    await asyncio.sleep(0.05)
            letters = (await js.stream_info(events.DEAD_STREAM)).state.messages
            consumer = await js.consumer_info(events.EVENTS_STREAM, events.LOGGER_CONSUMER)
            left = (consumer.num_pending or 0) + (consumer.num_ack_pending or 0)
            stop.set()
            await asyncio.wait_for(running, servers.DEADLINE)
        assert letters <= dead_letters.MANY and left >= 30


# ---------- what cannot be read in the other buckets


async def test_a_broken_audit_record_hides_no_other(server: servers.NatsServer) -> None:
    await servers.provision(server)
    actor = audit.Actor(by="ann", via=audit.COMMAND_LINE, address="here")
    async with connected(server, "admin") as admin:
        js = admin.jetstream()
        assert not await audit.write(js, actor.record("token", "create", "one"))
        for data in (b"", b"{", b"[]", b"null", b"\xff", b'{"at": 1}'):
            await js.publish("metrion.audit.token", data)
        assert not await audit.write(js, actor.record("token", "create", "two"))
        found = await audit.read(js)
    assert [record.subject for record in found] == ["two", *[""] * 6, "one"]
    assert {record.action for record in found} == {"create", audit.UNREADABLE}
    assert found[1].account == "" and found[1].area == "token"


async def test_corrupt_user_or_session_record_is_rejected_without_breaking_a_page(server: servers.NatsServer) -> None:
    await servers.provision(server)
    async with connected(server, "dashboard") as nc:
        js = nc.jetstream()
        await js.publish("$KV.dashboard.user.616263", b"{")
        assert await dashboard_users.listing(js) == [] and await dashboard_users.get(js, "abc") is None
        assert not await dashboard_users.create_first_admin(js, password="a password of some length"), (
            "somebody is there"
        )
        ann = await dashboard_users.create(js, name="ann", role=dashboard_users.VIEWER, password="x")
        await js.publish("$KV.dashboard.session.616e6e." + "a" * 64, b"{")
        kept = Sessions(lambda: js)
        cookie = await kept.start(ann, address="", agent="")
        assert len(await kept.active(ann)) == 1 and await kept.find(cookie)
        assert [user.name for user in await dashboard_users.listing(js)] == ["ann"]
        await dashboard_users.create(js, name="abc", role=dashboard_users.VIEWER)  # a broken entry can be replaced
