"""Pages of requests against a real ClickHouse: every row once, newest first, however deep and however sparse."""

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from clickhouse_connect.driver.asyncclient import AsyncClient

from services.logger import schema
from services.logger.rows import ResponseRow
from shared import clickhouse, logs
from shared.logs import Filters
from tests import parts
from tests.ledger import insert, interrupted, request

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
SINCE = NOW - timedelta(days=90)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[parts.ClickHouseServer]:
    with parts.clickhouse_server(tmp_path_factory.mktemp("clickhouse")) as server:
        yield server


@pytest.fixture
async def client(server: parts.ClickHouseServer) -> AsyncIterator[AsyncClient]:
    client = await clickhouse.connect(server.url(), service="test")
    await schema.apply(client)
    yield client
    await client.close()


async def pages(client: AsyncClient, filters: Filters, *, size: int = 7) -> list[str]:
    """The ids of all pages, one after the other."""
    found: list[dict[str, Any]] = []
    key: dict[str, Any] = {"before": NOW}
    while some := await logs.page(client, filters, since=SINCE, size=size, **key):
        found += some
        assert len(some) <= size
        key = {"before": some[-1]["started_at"], "before_id": str(some[-1]["id"])}
    moments = [row["started_at"] for row in found]
    assert moments == sorted(moments, reverse=True)
    return [str(row["id"]) for row in found]


async def test_pages_hold_every_request_once(client: AsyncClient) -> None:
    choose, account = random.Random(1), uuid.uuid4().hex
    moments = [NOW - timedelta(seconds=choose.randrange(1, 86_400)) for _ in range(60)]
    moments += [
        NOW - timedelta(days=3, hours=choose.randrange(3)) for _ in range(30)
    ]  # many at one moment, on the hour
    moments += [SINCE, SINCE + timedelta(microseconds=1), NOW - timedelta(days=40)]
    batch = [request(moment, account=account) for moment in moments]
    others = [request(moment, account="another") for moment in moments]
    await insert(client, [*batch, *others, *map(interrupted, batch[:20])], ingested_at=NOW)
    await insert(client, batch[10:40], ingested_at=NOW)  # delivered again
    found = await pages(client, Filters(account=account))
    assert len(found) == len(set(found)) == len(batch)
    assert set(found) == {row.id for row in batch}


@pytest.mark.parametrize(
    ("chosen", "changes"),
    [
        ({"requester": "bob"}, {"requester": "bob"}),
        ({"provider": "grok"}, {"provider": "grok"}),
        ({"model": "asked"}, {"model": "", "model_requested": "asked"}),
        ({"token": "web"}, {"token": "web"}),
        ({"cache": "HIT"}, {"cache": "HIT"}),
        ({"status_from": 400, "status_to": 499}, {"status": 429}),
        ({"metadata_key": "team", "metadata_value": "o'red\\"}, {"metadata": {"team": "o'red\\"}}),
    ],
)
async def test_a_filter_finds_what_is_rare_and_old(
    client: AsyncClient, chosen: dict[str, Any], changes: dict[str, Any]
) -> None:
    account = uuid.uuid4().hex
    rare: ResponseRow = request(NOW - timedelta(days=77), account=account, **changes)
    common = [request(NOW - timedelta(hours=number), account=account) for number in range(1, 30)]
    await insert(client, [rare, *common], ingested_at=NOW)
    assert await pages(client, Filters(account=account, **chosen)) == [rare.id]


async def test_nothing_is_an_empty_page(client: AsyncClient) -> None:
    nobody = Filters(account=uuid.uuid4().hex)
    assert await asyncio.wait_for(logs.page(client, nobody, since=SINCE, before=NOW), 60) == []
