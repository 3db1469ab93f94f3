"""Fixtures that hand tests real servers, for as long as the session: given by URL, else in containers, else embedded."""

import asyncio
import gc
import os
from collections.abc import Callable, Generator, Iterator, Mapping

import pytest

from tests.support import clickhouse_settings, jetstream_patience, paths, servers
from tests.support.examples import load_profile
from tests.support.stall_free_loop import StallFreeLoop

if not {"NATS_URL", "CLICKHOUSE_URL"} & os.environ.keys():
    # Servers of tests have certificates of their own. Reading the system's authorities costs each gateway and process 0.1 s.
    os.environ["SSL_CERT_FILE"] = str(paths.ROOT / "tests" / "support" / "no_authority.pem")
load_profile()
servers.ClickHouseServer.compiles_queries = False
jetstream_patience.wait_long()
clickhouse_settings.remember()


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Let each of several workers begin elsewhere in a folder, and find the rest compiled by the others."""
    report = yield
    if "PYTEST_XDIST_WORKER" in os.environ and isinstance(collector, pytest.Directory) and report.result:
        number = int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw"))
        start = len(report.result) * number // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
        report.result = report.result[start:] + report.result[:start]
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Restore the order of the files, which all workers must agree on: as on the command line, then by name."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return
    given = [config.invocation_params.dir / argument.partition("::")[0] for argument in config.args]

    def place(item: pytest.Item) -> tuple[int, tuple[str, ...]]:
        found = (number for number, path in enumerate(given) if item.path.is_relative_to(path))
        return next(found, len(given)), item.path.parts

    items.sort(key=place)


def pytest_collection_finish() -> None:
    """Exempt the test modules from garbage collection, which otherwise takes half a second at a time."""
    gc.collect()
    gc.freeze()


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run each asynchronous test on a loop on which nothing is late because the machine is busy."""
    return {"stall-free": StallFreeLoop}


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
