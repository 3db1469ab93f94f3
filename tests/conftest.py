"""Fixtures that hand tests real servers, for as long as the session: given by URL, else in containers, else embedded."""

import os
from collections.abc import Iterator

import pytest

from tests import parts
from tests.support.examples import load_profile

load_profile()
parts.ClickHouseServer.compiles_queries = False


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
