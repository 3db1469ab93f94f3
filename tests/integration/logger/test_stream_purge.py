"""What the logger's metrics say of the line is what stands in the stream: how much waits, how old it is, what was set aside."""

import asyncio
import time
from pathlib import Path

from nats.aio.client import Client
from prometheus_client import CollectorRegistry

from services.logger import stream_purge
from services.logger.metrics import Metrics
from shared import events, nats_client
from tests.support import servers


class Shown:
    """The gauges after a look."""

    def __init__(self, nc: Client) -> None:
        self._registry = CollectorRegistry()
        self._js, self._metrics = nc.jetstream(), Metrics(self._registry)

    async def measure(self) -> dict[str, float]:
        await stream_purge.measure(self._js, self._metrics)
        names: tuple[str, ...] = (
            "pending_messages",
            "in_hand_messages",
            "oldest_message_seconds",
            "stream_bytes",
            "stream_max_bytes",
        )
        names += ("dead_letters_waiting",)
        return {name: self._registry.get_sample_value(f"metrion_logger_{name}") or 0.0 for name in names}


async def test_pending_count_and_age_match_the_stream(tmp_path: Path) -> None:
    with servers.nats_server(tmp_path) as server:
        nc = await nats_client.connect(server.url("logger"), service="logger")
        gateway = await nats_client.connect(server.url("gateway"), service="gateway")
        try:
            js, shown = nc.jetstream(), Shown(nc)
            await servers.provision(server, max_bytes=1 << 26)
            nothing = await shown.measure()
            assert nothing == dict.fromkeys(nothing, 0.0) | {"stream_max_bytes": float(1 << 26)}

            for text in (b"first", b"second"):
                await gateway.jetstream().publish(f"{events.EVENTS_SUBJECT}.test", text)
            await asyncio.sleep(1.2)
            third = time.monotonic()
            await gateway.jetstream().publish(f"{events.EVENTS_SUBJECT}.test", b"third")
            waiting = await shown.measure()
            assert (waiting["pending_messages"], waiting["in_hand_messages"]) == (3, 0)
            assert 1.2 <= waiting["oldest_message_seconds"] < 30 and waiting["stream_bytes"] > 0

            line = await js.pull_subscribe("", durable=events.LOGGER_CONSUMER, stream=events.EVENTS_STREAM)
            first, second = await line.fetch(2, timeout=servers.DEADLINE)
            taken = await shown.measure()
            assert (taken["pending_messages"], taken["in_hand_messages"]) == (3, 2)
            await first.ack_sync()
            await second.ack_sync()
            last = await shown.measure()
            assert (last["pending_messages"], last["in_hand_messages"]) == (1, 0)
            assert last["oldest_message_seconds"] <= time.monotonic() - third, "the oldest two are stored"

            await js.purge_stream(events.EVENTS_STREAM)
            await js.publish(f"{events.DEAD_SUBJECT}.bad_event", b"unreadable")
            purged = await shown.measure()
            assert (purged["oldest_message_seconds"], purged["dead_letters_waiting"]) == (0, 1)
        finally:
            await gateway.close()
            await nc.close()
