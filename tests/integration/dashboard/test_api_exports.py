"""A month in FOCUS over the API, and requests read with the token that made them."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import aiohttp
import msgspec
import pytest
from uuid_utils import uuid7

from services.dashboard import export_stream
from services.dashboard.api import requests
from services.dashboard.queries import export, log_pages, runner
from services.logger import insert
from services.logger.rows import ResponseRow
from shared import accounts_admin, clickhouse, focus, nats_client
from tests.support import api_client, dashboard_app, servers
from tests.support import focus as spec
from tests.support.api_client import ApiClient
from tests.support.dashboard_app import DashboardApp
from tests.support.focus_rows import priced

NOVEMBER = {"month": "2026-11"}


class House(msgspec.Struct):
    """Servers, and where they are."""

    nats: servers.NatsServer
    clickhouse: servers.ClickHouseServer


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with (
        servers.nats_server(tmp_path_factory.mktemp("nats")) as nats,
        servers.clickhouse_server(tmp_path_factory.mktemp("clickhouse")) as engine,
    ):
        asyncio.run(dashboard_app.create_data(nats, engine.url("logger")))
        asyncio.run(put(engine, [row for account in (dashboard_app.A, dashboard_app.B) for row in priced(account)]))
        yield House(nats, engine)


@pytest.fixture
async def dashboard(house: House) -> AsyncIterator[DashboardApp]:
    async with dashboard_app.running_dashboard(house.nats.url("dashboard"), house.clickhouse.url("reader")) as found:
        yield found


async def put(engine: servers.ClickHouseServer, rows: list[ResponseRow]) -> None:
    client = await clickhouse.connect(engine.url("logger"), service="test")
    assert not await insert.insert(client, rows)
    await client.close()


async def total(engine: servers.ClickHouseServer, account: str) -> Decimal:
    """What an account owes for November in New York."""
    client = await clickhouse.connect(engine.url("reader"), service="test")
    since, until = "2026-11-01 04:00:00.0", "2026-12-01 05:00:00.0"
    rows = await clickhouse.run_query(client, "statement", since=since, until=until, account=account)
    await client.close()
    return sum((row["cost_usd"] for row in rows if row["section"] == "total"), Decimal(0))


async def test_month_in_focus_is_that_of_the_caller_s_accounts(dashboard: DashboardApp, house: House) -> None:
    month = {**NOVEMBER, "tz": "America/New_York"}
    everybody = await api_client.client(dashboard, uuid.uuid4().hex)
    confined = await api_client.client(dashboard, uuid.uuid4().hex, account=dashboard_app.A)
    for key, account, query in (
        (everybody, "", {}),
        (confined, dashboard_app.A, {}),
        (everybody, dashboard_app.B, {"account": dashboard_app.B}),
    ):
        answer = await key.get("/export/focus", month | query)
        assert answer.status == 200, answer.text
        assert answer.headers["Content-Type"] == "text/csv"
        name = f"focus-2026-11{'-' + account if query else ''}{'-' + account if account and not query else ''}.csv"
        assert answer.headers["Content-Disposition"] == f'attachment; filename="{name}"'
        rows = spec.read(answer.text)
        assert list(rows[0]) == list(focus.columns("1.2"))
        assert {row["BillingAccountId"] for row in rows} == (
            {account} if account else {dashboard_app.A, dashboard_app.B}
        )
        assert spec.total(rows) == await total(house.clickhouse, account) > 0
        for row in rows:
            spec.check(row)
    parquet = await _bytes(everybody, month | {"format": "parquet", "version": "1.3", "tags": "project"})
    assert parquet[:4] == parquet[-4:] == b"PAR1"
    for query, status, words in (
        ({}, 400, "month"),
        ({"month": "2026-13"}, 400, "Use 2026-11"),
        (month | {"tz": "Moon"}, 400, "tz"),
        (month | {"format": "xls"}, 400, "parquet"),
        (month | {"version": "0.5"}, 400, "1.3"),
        (month | {"tags": ",".join("abcdefghijklmnopqrstuvw")}, 400, "20 tags"),
    ):
        answer = await everybody.get("/export/focus", query)
        assert answer.status == status and words in answer.json["detail"], answer.text
    assert (await confined.get("/export/focus", month | {"account": dashboard_app.B})).status == 403
    document = (await everybody.get("/openapi.json")).json
    described = document["paths"]["/api/v1/export/focus"]["get"]["responses"]["200"]["content"]
    assert set(described) == {"text/csv", "application/vnd.apache.parquet"}


@pytest.mark.parametrize(
    "path",
    [
        "/export/focus?month=2026-11",
        "/requests.ndjson?from=2026-10-20&to=2026-11-12",
        "/requests.csv?from=2026-10-20&to=2026-11-12",
    ],
)
async def test_export_that_fails_halfway_is_broken_off_and_shows_no_message(
    dashboard: DashboardApp, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    key = await api_client.client(dashboard, uuid.uuid4().hex)
    names = ", ".join(f"toString(number) AS {name}" for name in focus.columns("1.2")[1:])
    broken = f"SELECT throwIf(number = 15000) AS AvailabilityZone, {names} FROM numbers(20000) SETTINGS max_block_size = 1000"
    text = clickhouse.text
    monkeypatch.setattr(clickhouse, "text", lambda name: broken if name == "focus" else text(name))
    monkeypatch.setattr(export, "BLOCK", 1)
    older, pages = log_pages.older, 0

    async def fail_on_the_third_page(*arguments: Any, **options: Any) -> log_pages.Page:
        nonlocal pages
        pages += 1
        page = await older(*arguments, **options)
        return page if pages < 3 else page._replace(failure="ClickHouse is unreachable.")

    monkeypatch.setattr(log_pages, "older", fail_on_the_third_page)
    received, error = await _received(key, path)
    assert received and isinstance(error, aiohttp.ClientPayloadError), "a part looks like the whole"
    assert b"Exception" not in received and b"throwIf" not in received and b"unreachable" not in received


@pytest.mark.parametrize("path", ["/export/focus?month=2026-11", "/requests.ndjson?from=2026-10-20&to=2026-11-12"])
async def test_export_fails_as_a_problem_while_nothing_is_sent(
    dashboard: DashboardApp, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    key = await api_client.client(dashboard, uuid.uuid4().hex)
    monkeypatch.setattr(clickhouse, "text", lambda name: "SELECT throwIf(1) AS AvailabilityZone")
    monkeypatch.setattr(focus, "columns", lambda version: ("AvailabilityZone",))
    runner.stripped.cache_clear()
    answer = await key.get(path)
    assert answer.status == 503 and "ClickHouse rejected the query" in answer.json["detail"], answer.text


async def _received(key: ApiClient, path: str) -> tuple[bytes, Exception | None]:
    """What a client reads of a stream, and the error at its end."""
    received = b""
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {key.key}"}) as session,
        session.get(f"{key.url}/api/v1{path}") as answer,
    ):
        assert answer.status == 200
        try:
            async for block in answer.content.iter_any():
                received += block
        except aiohttp.ClientError as error:
            return received, error
    return received, None


@pytest.mark.parametrize("when", ["before the first byte", "while reading", "unread"])
async def test_query_of_an_export_ends_when_its_client_leaves_or_stops_reading(
    dashboard: DashboardApp, house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, when: str
) -> None:
    key = await api_client.client(dashboard, uuid.uuid4().hex)
    mark = f"x{uuid.uuid4().hex}"
    rows = "count()" if when == "before the first byte" else "repeat('x', 1000)"
    endless = f"SELECT {rows} AS {mark} FROM system.numbers WHERE NOT ignore(sipHash128(number))"
    monkeypatch.setattr(clickhouse, "text", lambda name: endless)
    monkeypatch.setattr(focus, "columns", lambda version: (mark,))
    monkeypatch.setattr(export_stream, "UNREAD_SECONDS", 0.2 if when == "unread" else servers.DEADLINE)
    reader, writer = await asyncio.open_connection("127.0.0.1", dashboard.port, limit=1000)
    head = (
        f"GET /api/v1/export/focus?month=2026-11&tags=a HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key.key}\r\n\r\n"
    )
    writer.write(head.encode())
    watcher = await clickhouse.connect(house.clickhouse.url("reader"), service="test")

    async def until(running: int) -> None:
        text = "SELECT count() FROM system.processes WHERE query LIKE {mark:String} AND query NOT LIKE '%processes%'"
        async with asyncio.timeout(servers.DEADLINE):
            while (await watcher.query(text, parameters={"mark": f"%{mark}%"})).result_rows[0][0] != running:
                await asyncio.sleep(0.02)

    if when == "before the first byte":
        await until(1)
    else:
        assert await reader.readexactly(1000)
    if when != "unread":
        writer.transport.abort()
    await until(0)
    async with asyncio.timeout(servers.DEADLINE):
        while dashboard.app[requests.EXPORTS]:
            await asyncio.sleep(0.02)
    await watcher.close()
    writer.transport.abort()
    assert not [record for record in caplog.records if record.exc_info], caplog.text


async def _bytes(key: ApiClient, query: dict[str, str]) -> bytes:
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {key.key}"}) as session,
        session.get(f"{key.url}/api/v1/export/focus", params=query) as answer,
    ):
        assert answer.status == 200
        return await answer.read()


def made(account: str, token: str, **changes: Any) -> ResponseRow:
    row = msgspec.structs.replace(priced(account)[0], id=str(uuid7()), token=token, started_at=datetime.now(UTC))
    return msgspec.structs.replace(row, **changes)


async def test_token_reads_the_requests_made_with_it_and_no_others(
    dashboard: DashboardApp, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin = await nats_client.connect(house.nats.url("admin"), service="admin")
    js = admin.jetstream()
    secret = await accounts_admin.create_token(js, account=dashboard_app.A, name="shop")
    mine, other, foreign = made(dashboard_app.A, "shop"), made(dashboard_app.A, "else"), made(dashboard_app.B, "shop")
    earlier = made(
        dashboard_app.A, "shop", started_at=datetime.now(UTC) - timedelta(days=1)
    )  # of a token that had this name
    await put(house.clickhouse, [other, foreign, earlier])
    holder = ApiClient(dashboard, secret)
    waiting = asyncio.create_task(holder.get(f"/requests/{mine.id}", wait=30))
    async with asyncio.timeout(servers.DEADLINE):
        while not dashboard.app[requests._waiting]:
            await asyncio.sleep(0.005)
    await put(house.clickhouse, [mine])
    answer = await waiting
    assert answer.status == 200, answer.text
    assert (answer.json["id"], Decimal(answer.json["cost_usd"]), answer.json["token"]) == (mine.id, mine.cost, "shop")
    for row in (other, foreign, earlier):
        for query in ({}, {"wait": "1"}):
            assert (await holder.get(f"/requests/{row.id}", query)).status == 404
    for path in ("/requests", "/export/focus?month=2026-11", "/usage"):
        answer = await holder.get(path)
        assert answer.status == 403 and "only reads the requests made with it" in answer.json["detail"]
    # a caller may not occupy all places to wait
    monkeypatch.setattr(requests, "MAX_WAITING_EACH", 0)
    assert (await holder.get(f"/requests/{uuid7()}", wait=1)).status == 429
    await accounts_admin.revoke_token(js, account=dashboard_app.A, name="shop")
    assert (await holder.get(f"/requests/{mine.id}")).status == 401
    unknown = ApiClient(dashboard, "sk-metrion-" + "0" * 32)
    assert {(await unknown.get(f"/requests/{mine.id}")).status for _ in range(10)} == {401, 429}
    await admin.close()
