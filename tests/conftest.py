"""Fixtures that hand tests real servers, for as long as the session: given by URL, else in containers, else embedded."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests import parts

# How long an example takes tells of the machine and of what else runs on it, not of the product.
settings.register_profile("metrion", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("metrion")


@pytest.fixture(scope="session")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[parts.NatsServer | parts.External]:
    """A nats-server shared by the session: that of NATS_URL, else as tests/containers.py finds."""
    if url := os.environ.get("NATS_URL"):
        yield parts.External(url)
        return
    with parts.nats_server(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[parts.ClickHouseServer | parts.External]:
    """A ClickHouse shared by the session: that of CLICKHOUSE_URL, else as tests/containers.py finds."""
    if url := os.environ.get("CLICKHOUSE_URL"):
        yield parts.External(url)
        return
    with parts.clickhouse_server(tmp_path_factory.mktemp("clickhouse")) as server:
        yield server
