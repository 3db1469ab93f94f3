"""Page Health says how old the prices are, which models lack one, and what waits for it."""

import asyncio
import html
import re
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest

from services.logger import insert
from services.logger.rows import ResponseRow
from shared import clickhouse, nats_client
from shared.pricing import versions
from shared.pricing.catalog import Catalog, Model
from shared.pricing.versions import Checked
from tests.support import dashboard_app, sample_rows, servers
from tests.support.dashboard_app import A

NOW = datetime.now(UTC)
House = tuple[servers.NatsServer, servers.ClickHouseServer]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with (
        servers.nats_server(tmp_path_factory.mktemp("nats")) as nats,
        servers.clickhouse_server(tmp_path_factory.mktemp("clickhouse")) as clickhouse,
    ):
        asyncio.run(dashboard_app.create_data(nats, clickhouse.url("logger")))
        yield nats, clickhouse


async def store_waiting(url: str) -> None:
    """Three requests of a new model without a price, and one that was interrupted."""
    like = next(row for row in sample_rows.generate(0, account=A, count=60) if isinstance(row, ResponseRow))
    lacking = {
        "model": "gpt-99", "provider": "openai", "started_at": NOW - timedelta(days=40), "input_tokens": 1000, "output_tokens": 234,
        "cost": None, "cost_reason": "unknown_model", "version": 2, "outcome": "complete", "cache": "",
    }  # fmt: skip
    fields = {name: getattr(like, name) for name in like.__struct_fields__} | lacking
    made = [ResponseRow(**fields | {"id": str(uuid.uuid4())}) for _ in range(3)]
    made.append(ResponseRow(**fields | {"id": str(uuid.uuid4()), "model": "gpt-98", "cost_reason": "interrupted"}))
    client = await clickhouse.connect(url, service="test")
    assert not await insert.insert(client, made)
    await client.close()


async def test_the_page_shows_the_age_of_prices_and_what_waits_for_one(house: House) -> None:
    await store_waiting(house[1].url("logger"))
    nc = await nats_client.connect(house[0].url("admin"), service="cli")
    js = nc.jetstream()
    async with dashboard_app.running_dashboard(house[0].url("dashboard"), house[1].url("reader")) as dashboard:
        browser = await dashboard.browser("admin")

        async def text() -> str:
            answer = await browser.get("/health")
            assert answer.status == 200, answer.text
            return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", answer.text)).split())

        # 1. the built-in prices
        shown = await text()
        assert "Price age" in shown and "built-in, genai-prices" in shown
        assert "gpt-99 openai unknown model 3 3,702" in shown
        assert "gpt-98 openai interrupted" not in shown.partition("Unknown cost")[0]
        # 2. accepted ones, and a comparison that somebody has to decide
        record = {"id": "m", "match": {"equals": "m"}, "prices": {"input_mtok": str(Decimal(1))}}
        prices = Catalog("1.0", {"openai": (msgspec.convert(record, Model),)})
        made = versions.create(prices, number=1, by="ann", source="x.whl", now=NOW - timedelta(days=3, hours=1))
        await versions.publish(js, made)
        objection = "openai gpt-4o is removed"
        await versions.note_checked(js, Checked(at=NOW, source="https://***@index/", outcome="refused", text=objection))
        shown = await text()
        assert f"3 days version {made.name} · last check: refused" in shown
        assert f"Last check against https://***@index/: refused. {objection}" in shown
        cost = await browser.get("/cost?period=90d")
        assert "new prices, version 1</li>" in cost.text
        # 3. up to date since yesterday, then damaged
        fresh = Checked(at=NOW, source="x", outcome="unchanged", fresh_at=NOW - timedelta(days=1, hours=1))
        await versions.note_checked(js, fresh)
        assert "1 day version" in await text()
        await js.publish("$KV.prices.version.2", b"{", stream=versions.STREAM)
        assert "the newest version is damaged" in await text()
    await nc.close()
