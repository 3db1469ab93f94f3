"""The schema: starts and upgrades never show readers an older shape, whichever release starts when."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from clickhouse_connect.driver.asyncclient import AsyncClient

from services.logger import schema
from shared import clickhouse
from tests.support import servers


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.ClickHouseServer]:
    with servers.clickhouse_server(tmp_path_factory.mktemp("clickhouse")) as server:
        yield server


@pytest.fixture
async def client(server: servers.ClickHouseServer) -> AsyncIterator[AsyncClient]:
    client = await clickhouse.connect(server.url(), service="test")
    await client.command("DROP DATABASE IF EXISTS metrion", use_database=False)
    yield client
    await client.close()


async def columns(client: AsyncClient, view: str) -> list[str]:
    return [row[0] for row in (await client.query(f"DESCRIBE metrion.{view}")).result_rows]


async def test_a_page_never_fails_while_a_logger_starts(server: servers.ClickHouseServer, client: AsyncClient) -> None:
    await schema.apply(client)
    other = await clickhouse.connect(server.url(), service="reader")
    starting = asyncio.create_task(_apply_often(client))
    reads = 0
    try:
        while not starting.done() or reads < 20:
            await other.query("SELECT note, cost FROM metrion.requests LIMIT 1")
            reads += 1
    finally:
        await starting
        await other.close()


async def _apply_often(client: AsyncClient) -> None:
    for _ in range(4):
        for statement in schema.migrations():  # as an upgrade applies them, and every start in a cluster
            await client.command(statement, use_database=False)
        await schema.apply(client)


class Counting:
    """A client that keeps the statements sent."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self.sent: list[str] = []

    def __getattr__(self, name: str) -> Any:
        async def send(statement: str, *given: Any, **more: Any) -> Any:
            self.sent.append(statement)
            return await getattr(self._client, name)(statement, *given, **more)

        return send


async def test_start_on_a_database_of_this_version_only_asks_for_it(client: AsyncClient) -> None:
    await schema.apply(client)
    counting: Any = Counting(client)
    await schema.apply(counting)
    assert counting.sent == ["SELECT max(version) FROM metrion.schema_versions"]


async def test_start_applies_migrations_that_the_release_before_did_not_have(client: AsyncClient) -> None:
    await schema.apply(client)
    await client.command("DROP TABLE metrion.reported_costs", use_database=False)
    await client.command("TRUNCATE TABLE metrion.schema_versions", use_database=False)
    before = [[schema.views_version() - 1]]
    await client.insert("metrion.schema_versions", before, column_names=["version"])
    await schema.apply(client)
    assert "cost" in await columns(client, "reported_costs")


async def test_a_view_is_replaced_once_per_version(client: AsyncClient) -> None:
    await schema.apply(client)
    before = await _created(client)
    await schema.apply(client)
    assert await _created(client) == before


async def _created(client: AsyncClient) -> list[tuple[object, ...]]:
    found = await client.query(
        "SELECT name, uuid, metadata_modification_time FROM system.tables"
        " WHERE database = 'metrion' AND engine = 'View' ORDER BY name"
    )
    return [tuple(row) for row in found.result_rows]


async def test_an_older_release_that_restarts_leaves_the_views_of_a_later_one(
    client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await schema.apply(client)
    shape = await columns(client, "requests")
    version = schema.views_version()
    monkeypatch.setattr(schema, "views_version", lambda: version - 1)
    monkeypatch.setattr(schema, "views", lambda _: iter(["CREATE OR REPLACE VIEW metrion.requests AS SELECT 1 AS one"]))
    await schema.apply(client)
    assert await columns(client, "requests") == shape
    monkeypatch.setattr(schema, "views_version", lambda: version + 1)
    await schema.apply(client)
    assert await columns(client, "requests") == ["one"]


async def test_a_database_of_the_release_before_gets_the_views_of_this_one(client: AsyncClient) -> None:
    for statement in schema.migrations():
        await client.command(statement, use_database=False)
    await client.command(
        "CREATE OR REPLACE VIEW metrion.requests AS SELECT id, cost FROM metrion.response_events FINAL",
        use_database=False,
    )
    await schema.apply(client)
    assert "note" in await columns(client, "requests")
