"""A past is published as a gateway ships: what the stream refuses is tried again, what is told twice is stored once."""

import asyncio
from datetime import UTC, date, datetime
from pathlib import Path

from nats.js import JetStreamContext

from deploy.demo import publish
from deploy.demo.history import messages
from deploy.demo.month import Plan
from services.logger.decode import unpack
from shared import events, nats_client
from shared.events import GatewayBeat
from tests.support import servers

LATER = datetime(2027, 1, 1, tzinfo=UTC)


async def test_a_full_stream_is_waited_for_and_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    plan = Plan(seed=1, first=date(2026, 11, 1), days=1, rows=2000)
    told = list(messages(plan, 0, 2000, until=LATER))
    closed = [
        [event.at for event in unpack(one.data)[0] if isinstance(event, GatewayBeat) and event.closing] for one in told
    ]
    assert len(told) > 5 and closed == [[]] * (len(told) - 1) + [[datetime(2026, 11, 2, tzinfo=UTC)]]
    with servers.nats_server(tmp_path / "nats") as server:
        logger = await nats_client.connect(server.url("logger"), service="logger")
        admin = await nats_client.connect(server.url("admin"), service="cli")
        try:
            js, progress = logger.jetstream(), publish.Progress()
            await servers.provision(server, max_bytes=600 << 10)
            publishing = asyncio.create_task(publish.publish(admin, told, progress))
            async with asyncio.timeout(servers.DEADLINE):
                while not progress.refused:
                    await asyncio.sleep(0.02)
                stored = await _taken(js, len(told))
                await publishing
            assert stored == {one.id: one.data for one in told}
            assert list(stored)[-1] == told[-1].id  # that a day is whole is said when it is
            assert (progress.rows, progress.events) == (2000, sum(one.events for one in told))
            await publish.publish(admin, told, progress)
            assert (await js.stream_info(events.EVENTS_STREAM)).state.messages == 0
        finally:
            await admin.close()
            await logger.close()


async def _taken(js: JetStreamContext, count: int) -> dict[str, bytes]:
    """Take so many messages, each at once out of the stream, as logger and upkeep do: id → data, in their order."""
    subscription = await js.pull_subscribe_bind(events.LOGGER_CONSUMER, stream=events.EVENTS_STREAM)
    found: dict[str, bytes] = {}
    for _ in range(count):
        (message,) = await subscription.fetch(1, timeout=servers.DEADLINE)
        await message.ack_sync()
        await js.purge_stream(events.EVENTS_STREAM, seq=message.metadata.sequence.stream + 1)
        assert message.headers and message.headers["Nats-Msg-Id"] not in found
        found[message.headers["Nats-Msg-Id"]] = message.data
    return found
