"""A gateway that is told to stop stops, whatever its neighbours do."""

import asyncio
import signal
import time
from pathlib import Path

from shared import bus
from tests import parts
from tests.provider import provider
from tests.system import System, seed


async def _provision(nats: parts.NatsServer) -> None:
    connection = await bus.connect(nats.url("logger"), service="logger")
    await bus.provision(connection.jetstream())
    await connection.close()


def test_a_gateway_stops_while_nats_is_dead_and_starts_again_from_its_snapshot(tmp_path: Path) -> None:
    with parts.nats_server(tmp_path / "nats") as nats, provider() as upstream:
        asyncio.run(_provision(nats))
        asyncio.run(seed(nats))
        found = System(tmp_path, nats, None, upstream)  # type: ignore[arg-type]
        gateway = found.configure_gateway()
        gateway.start()
        snapshot = tmp_path / "gateway" / "accounts-0.snapshot"
        parts.wait_for(lambda: snapshot.exists() and b"test" in snapshot.read_bytes(), "the snapshot")
        for _ in range(2):
            nats.kill()
            time.sleep(0.5)
            gateway.kill(signal.SIGTERM)  # waits, at most 30 s
            gateway.start()  # NATS is still dead: ready from the snapshot
            assert gateway.ready()
            nats.start()
        gateway.kill(signal.SIGTERM)
        assert "Traceback" not in gateway.log.read_text()
