"""A gateway that is told to stop stops, whatever its neighbours do."""

import asyncio
import signal
import threading
import time
from pathlib import Path

import pytest

from shared import events, nats_client
from tests.support import servers
from tests.support.mock_provider import provider
from tests.support.system import System, seed


def test_a_gateway_stops_while_nats_is_dead_and_starts_again_from_its_snapshot(tmp_path: Path) -> None:
    with servers.nats_server(tmp_path / "nats") as nats, provider() as upstream:
        asyncio.run(servers.provision(nats))
        asyncio.run(seed(nats))
        found = System(tmp_path, nats, None, upstream)  # type: ignore[arg-type]
        gateway = found.configure_gateway(flush_seconds="2")
        gateway.start()
        snapshot = tmp_path / "gateway" / "accounts-0.snapshot"
        servers.wait_for(lambda: snapshot.exists() and b"test" in snapshot.read_bytes(), "the snapshot")
        for _ in range(2):
            nats.kill()
            time.sleep(0.5)
            gateway.kill(signal.SIGTERM)
            gateway.start()  # NATS is still dead: ready from the snapshot
            assert gateway.ready()
            nats.start()
        gateway.kill(signal.SIGTERM)
        assert "Traceback" not in gateway.log.read_text()


async def _stored(nats: servers.NatsServer) -> int:
    connection = await nats_client.connect(nats.url("logger"), service="logger")
    try:
        return (await connection.jetstream().stream_info(events.EVENTS_STREAM)).state.messages
    finally:
        await connection.close()


@pytest.mark.parametrize("settings", [{"flush_seconds": "120"}, {"flush_seconds": "0.1", "grace_seconds": "120"}])
def test_events_are_shipped_at_a_stop_when_nats_comes_back_within_the_grace(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    with servers.nats_server(tmp_path / "nats") as nats, provider() as upstream:
        asyncio.run(servers.provision(nats))
        asyncio.run(seed(nats))
        found = System(tmp_path, nats, None, upstream)  # type: ignore[arg-type]
        gateway = found.configure_gateway(**settings)
        gateway.start()
        snapshot = tmp_path / "gateway" / "accounts-0.snapshot"
        servers.wait_for(lambda: snapshot.exists() and b"test" in snapshot.read_bytes(), "the snapshot")
        servers.wait_for(lambda: asyncio.run(_stored(nats)) > 0, "a beat")
        before = asyncio.run(_stored(nats))
        nats.kill()
        time.sleep(0.5)
        stopping = threading.Thread(target=gateway.kill, args=(signal.SIGTERM,))
        stopping.start()
        time.sleep(6)  # longer than a flush is given without being told more
        assert stopping.is_alive(), gateway.log.read_text()
        nats.start()
        stopping.join(servers.DEADLINE)
        assert asyncio.run(_stored(nats)) > before  # the closing beat
        assert "stay in the outbox" not in gateway.log.read_text()
