"""Fixtures that hand tests real servers, for as long as the session: given by URL, else in containers, else embedded."""

import asyncio
import gc
import os
from collections.abc import Iterator

import pytest

from tests.support import paths, servers
from tests.support.examples import load_profile

if not {"NATS_URL", "CLICKHOUSE_URL"} & os.environ.keys():
    # Servers of tests have certificates of their own. Reading the system's authorities costs each gateway and process 0.1 s.
    os.environ["SSL_CERT_FILE"] = str(paths.ROOT / "tests" / "support" / "no_authority.pem")
load_profile()
servers.ClickHouseServer.compiles_queries = False


def pytest_collection_finish() -> None:
    """Exempt the test modules from garbage collection, which otherwise takes half a second at a time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.NatsServer | servers.External]:
    """A nats-server shared by the session: that of NATS_URL, else as tests/support/containers.py finds."""
    if url := os.environ.get("NATS_URL"):
        yield servers.External(url)
        return
    with servers.nats_server(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.ClickHouseServer | servers.External]:
    """A ClickHouse shared by the session: that of CLICKHOUSE_URL, else as tests/support/containers.py finds."""
    if url := os.environ.get("CLICKHOUSE_URL"):
        yield servers.External(url)
        return
    with servers.clickhouse_server(tmp_path_factory.mktemp("clickhouse")) as server:
        yield server


@pytest.fixture(scope="session")
def database(
    clickhouse: servers.ClickHouseServer | servers.External,
) -> servers.ClickHouseServer | servers.External:
    """The session's ClickHouse with Metrion's schema; each test uses accounts of its own."""
    asyncio.run(servers.apply_schema(clickhouse.url("logger")))
    return clickhouse
