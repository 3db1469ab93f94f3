"""The default limit: for new installations only, unless a setting says otherwise."""

import asyncio
import logging
from decimal import Decimal
from pathlib import Path

import pytest
from nats.js import api

from services.gateway import service
from services.gateway.accounts_mirror import Mirror
from services.gateway.settings import Settings
from shared import accounts_kv, nats_client
from shared.process import restart_on_failure
from tests.support import ports, servers
from tests.support.system import seed


async def followed(server: servers.NatsServer, mirror: Mirror) -> Mirror:
    """The mirror once it has the accounts, and their snapshot is written."""
    nc = await nats_client.connect(server.url("gateway"), service="gateway")
    async with restart_on_failure("mirror", lambda: mirror.follow(nc)):
        assert await mirror.wait_until_confirmed(servers.DEADLINE)
    await mirror.close()
    await nc.close()
    return mirror


async def old_installation(server: servers.NatsServer) -> None:
    """An accounts bucket as version 0.1.0 left it, then the provisioning of this version."""
    nc = await nats_client.connect(server.url("provision"), service="provision")
    await nc.jetstream().add_stream(api.StreamConfig(name=accounts_kv.STREAM, subjects=[accounts_kv.SUBJECT + ">"]))
    await nc.close()
    await seed(server)
    await servers.provision(server)


async def test_each_token_of_a_new_installation_is_limited_without_nats_too(tmp_path: Path) -> None:
    with servers.nats_server(tmp_path / "nats") as server:
        await servers.provision(server)
        await seed(server)
        await servers.provision(server)  # once more, as at every upgrade
        mirror = await followed(server, Mirror(tmp_path / "snapshot", default_requests=None))
        for found in (mirror, Mirror(tmp_path / "snapshot", default_requests=None)):
            (limit,) = found.limits("default")
            assert (limit.amount, limit.scope.token) == (Decimal(100), "*")
        assert Mirror(tmp_path / "snapshot", default_requests=0).limits("default") == ()


async def test_existing_installation_has_no_default_until_the_setting_is_set(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with servers.nats_server(tmp_path / "nats") as server:
        await old_installation(server)
        mirror = await followed(server, Mirror(tmp_path / "snapshot", default_requests=None))
        assert mirror.limits("default") == ()
        (limit,) = Mirror(tmp_path / "snapshot", default_requests=7).limits("default")
        assert limit.amount == 7
        settings = Settings(
            nats_url=server.url("gateway"),
            gateway_dir=tmp_path / "gateway",
            gateway_port=ports.free_port(),
            gateway_ops_port=ports.free_port(),
        )
        stop = asyncio.Event()
        with caplog.at_level(logging.INFO):
            running = asyncio.create_task(service.run(settings, stop))
            async with asyncio.timeout(servers.DEADLINE):
                while "listening on" not in caplog.text:
                    await asyncio.sleep(0.02)
            stop.set()
            await running
        assert caplog.text.count("METRION_DEFAULT_REQUESTS_PER_MINUTE") == 1
        assert "any number of requests" in caplog.text
