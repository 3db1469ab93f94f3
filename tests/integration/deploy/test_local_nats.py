"""The local nats-server: each user may do its work and nothing else."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from shared import events, nats_client
from tests.support import servers
from tests.support.nats_rights import *  # noqa: F403 — the tests themselves
from tests.support.nats_rights import users  # noqa: F401 — a fixture


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.NatsServer]:
    with servers.started(servers.NatsServer(tmp_path_factory.mktemp("nats"))) as server:
        yield server


async def test_acknowledged_messages_survive_a_kill_of_nats(tmp_path: Path) -> None:
    with servers.started(servers.NatsServer(tmp_path)) as server:
        logger = await nats_client.connect(server.url("logger"), service="logger")
        await servers.provision(server)
        gateway = await nats_client.connect(server.url("gateway"), service="gateway")
        for n in range(20):
            await gateway.jetstream().publish("metrion.events.one", str(n).encode())
        await gateway.close()
        await logger.close()
        server.kill()
        server.restart()
        logger = await nats_client.connect(server.url("logger"), service="logger")
        try:
            info = await logger.jetstream().stream_info(events.EVENTS_STREAM)
            assert info.state.messages == 20
        finally:
            await logger.close()


def test_passwords_are_readable_by_their_owner_only(server: servers.NatsServer) -> None:
    assert (server.directory / "nats.conf").stat().st_mode & 0o777 == 0o600
