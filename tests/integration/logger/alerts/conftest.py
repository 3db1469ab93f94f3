"""Fixtures: a nats-server of the module's own, and alerts on its clock."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime

import pytest

from services.logger import schema
from shared import clickhouse
from shared.alerts.model import ALERTS_BUCKET, RULE_KEY
from shared.nats_client import connect
from tests.support import alert_line as line
from tests.support import buckets, servers
from tests.support.alert_line import Alerts, Clock

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.NatsServer]:
    with servers.nats_server(tmp_path_factory.mktemp("nats")) as found:
        asyncio.run(servers.provision(found))
        yield found


@pytest.fixture(scope="module")
def clickhouse_url(clickhouse: servers.ClickHouseServer | servers.External) -> str:
    return _with_schema(clickhouse.url("logger"))


def _with_schema(url: str) -> str:
    async def apply() -> None:
        client = await clickhouse.connect(url, service="test")
        await schema.apply(client)
        await client.close()

    asyncio.run(apply())
    return url


@pytest.fixture
async def alerts(broker: servers.NatsServer, clickhouse_url: str) -> AsyncIterator[Alerts]:
    """Servers, and engines that share them, all on one clock; later engines evaluate none of the rules."""
    logger = await connect(broker.url("logger"), service="logger")
    admin = await connect(broker.url("admin"), service="admin")
    client = await clickhouse.connect(clickhouse_url, service="test")
    made = Alerts(logger, admin, client, Clock(NOW))
    yield made
    await made.close()
    await buckets.delete_keys(admin.jetstream(), ALERTS_BUCKET, RULE_KEY)
    for nc in (logger, admin):
        await nc.close()
    await client.close()


@pytest.fixture
def account() -> str:
    """A new account."""
    return line.new_account()
