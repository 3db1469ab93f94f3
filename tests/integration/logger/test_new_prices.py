"""A new model goes from unknown to priced while loggers run, and nothing that has a price changes by itself."""

import asyncio
import json
import signal
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import prometheus_client
import pytest
from clickhouse_connect.driver.asyncclient import AsyncClient
from nats.aio.client import Client
from nats.js import JetStreamContext

from services.logger import insert
from services.logger.alerts.bucket import Bucket
from services.logger.metrics import Metrics
from services.logger.prices import backfill as backfill_module
from services.logger.prices.accepted import AcceptedPrices
from services.logger.prices.automatic import AutomaticUpdates
from services.logger.prices.backfill import PriceBackfill, PricesChanged
from services.logger.prices.current import CurrentPrices
from services.logger.rows import response_row
from shared import audit, clickhouse, events
from shared.events import Evidence, Origin, ResponseEvent
from shared.nats_client import connect
from shared.pricing import versions
from shared.pricing.catalog import Catalog, Model
from shared.pricing.update import genai_release
from shared.pricing.versions import Checked, PriceVersion
from shared.process import cancel_and_wait
from tests.support import cli, price_wheel, servers
from tests.support.event_line import Line, answer, drained, envelope, logger, packed, ship, start_logger, until
from tests.support.package_index import package_index

NOW = datetime.now(UTC)
PICK = b'{"model":"gpt-99","usage":{"prompt_tokens":1000,"completion_tokens":100}}'
COST, DOUBLE = Decimal("0.0042"), Decimal("0.0072")  # (1000*3 + 100*12) / 1e6, (1000*6 + 100*12) / 1e6
KILLED_WHILE_REPRICING = """
import os, signal
from services.logger.prices.backfill import PriceBackfill
from shared.repricing import history
PriceBackfill.__init__.__kwdefaults__.update(page_rows=4, lease_seconds=15)
pages = history._pages
async def two(*given, **named):
    number = 0
    async for page in pages(*given, **named):
        number += 1
        if number == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        yield page
history._pages = two
import services.logger.__main__
"""
WHEEL = "genai_prices-9.9.0-py3-none-any.whl"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.ClickHouseServer]:
    with servers.clickhouse_server(tmp_path_factory.mktemp("clickhouse")) as server:
        asyncio.run(servers.apply_schema(server.url()))
        yield server


@pytest.fixture
def line(tmp_path: Path, engine: servers.ClickHouseServer) -> Iterator[Line]:
    """A NATS server without accepted prices, beside the module's ClickHouse."""
    with servers.nats_server(tmp_path / "nats") as broker:
        asyncio.run(servers.provision(broker, redeliver_after=3))
        yield Line(broker, engine)


@pytest.fixture(scope="module")
def installed() -> Catalog:
    return genai_release.read(genai_release.installed()).catalog


@pytest.fixture
async def bus(line: Line) -> AsyncIterator[Client]:
    connection = await connect(line.nats.url("admin"), service="admin")
    yield connection
    await connection.close()


@pytest.fixture
async def nc(line: Line) -> AsyncIterator[Client]:
    connection = await connect(line.nats.url("logger"), service="logger")
    yield connection
    await connection.close()


@pytest.fixture
async def client(line: Line) -> AsyncIterator[AsyncClient]:
    made = await clickhouse.connect(line.clickhouse.url(), service="test")
    yield made
    await made.close()


def account() -> str:
    return f"a{uuid.uuid4().hex[:12]}"


def request(owner: str, number: int, *, pick: bytes = PICK, model: str = "gpt-99", **changes: Any) -> ResponseEvent:
    asked = envelope(
        owner,
        provider="openai",
        dialect=events.OPENAI_CHAT,
        endpoint="POST /v1/chat/completions",
        model=model,
        **changes,
    )
    return answer(Origin(owner, 1, number), asked, evidence=Evidence(picks=(pick,)))


async def send(bus: Client, owner: str, count: int, *, first: int = 1) -> None:
    """Requests of the new model, in messages of three, and wait until all are stored."""
    made = [request(owner, first + number) for number in range(count)]
    await ship(bus, [packed(made[start : start + 3]) for start in range(0, count, 3)])


async def rows(client: AsyncClient, owner: str) -> list[dict[str, Any]]:
    columns = "id, model_name, cost, cost_reason, price_version, version, note"
    sql = f"SELECT {columns} FROM metrion.requests WHERE account = '{owner}' ORDER BY id"
    return list((await client.query(sql)).named_results())


async def costs(client: AsyncClient, owner: str) -> dict[tuple[Decimal | None, int], int]:
    """How many requests there are by cost and price version's number."""
    found: dict[tuple[Decimal | None, int], int] = {}
    for row in await rows(client, owner):
        number = int(row["price_version"].split("-")[0]) if "-" in row["price_version"] else 0
        found[row["cost"], number] = found.get((row["cost"], number), 0) + 1
    return found


def with_price(prices: Catalog, usd: str, name: str = "gpt-99") -> Catalog:
    """The prices with a model more."""
    record = {"id": name, "match": {"equals": name}, "prices": {"input_mtok": usd, "output_mtok": "12"}}
    models = (*prices.price_lists["openai"], msgspec.convert(record, Model))
    return Catalog("9.9.0", prices.price_lists | {"openai": models})


async def publish(bus: Client, prices: Catalog) -> PriceVersion:
    js = bus.jetstream()
    number = max(await versions.read(js), default=0) + 1
    made = versions.create(prices, number=number, by="test", source="test")
    await versions.publish(js, made)
    return made


def in_use(prices: CurrentPrices) -> str:
    return prices.table.version.split("+")[0]


async def test_a_new_model_is_priced_and_healed_on_two_running_loggers(
    line: Line, bus: Client, client: AsyncClient, tmp_path: Path, installed: Catalog
) -> None:
    owner, js = account(), bus.jetstream()
    wheel = tmp_path / WHEEL
    wheel.write_bytes(price_wheel.wheel(price_wheel.with_model(price_wheel.data_module())))
    env = {"METRION_NATS_URL": line.nats.url("admin"), "METRION_DATA_DIR": str(tmp_path)}
    known = request(owner, 900, pick=PICK.replace(b"gpt-99", b"gpt-4o"), model="gpt-4o")
    settings = line.settings()
    async with logger(settings), logger(settings):
        # 1. unknown while no price has been accepted
        await ship(bus, [packed([known])])
        await send(bus, owner, 30)
        await until(
            lambda: _is(costs(client, owner), {(None, 0): 30, (Decimal("0.0035"), 0): 1}), "rows without a price"
        )
        # 2. accepted on the command line, priced by one of the loggers without a restart
        done = await asyncio.to_thread(cli.run, "prices", "update", "--from", str(wheel), "--yes", "--json", env=env)
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        assert {change["model"] for change in report["differences"]} == {"gpt-99"} and report["objections"] == []
        first = versions.current(await versions.read(js))
        assert first is not None and report["accepted"] == first.name == f"1-{first.sha256[:12]}"
        assert (first.release, first.source) == ("9.9.0", str(wheel))
        await until(lambda: _is(costs(client, owner), {(COST, 1): 30, (Decimal("0.0035"), 0): 1}), "priced rows")
        found = await rows(client, owner)
        assert {(row["model_name"], row["version"], row["note"][:9]) for row in found} == {
            ("gpt-99", 3, "repricing"),
            ("gpt-4o", 2, ""),
        }
        # 3. new requests are priced at once, by both loggers
        await send(bus, owner, 30, first=100)
        await until(lambda: _is(costs(client, owner), {(COST, 1): 60, (Decimal("0.0035"), 0): 1}), "priced rows")
        # 4. the sums follow, and what was done is recorded
        sums = f"SELECT sum(requests), sum(cost) FROM metrion.usage WHERE account = '{owner}'"
        await until(lambda: _is(_figures(client, sums), [61, 60 * COST + Decimal("0.0035")]), "sums")
        # a logger that heard of the version a moment late leaves rows to price, too
        await until(lambda: _has_recorded(js, priced=30), "the audit record")
        backfill, *_, update = await audit.read(js, area="prices")
        assert (backfill.action, backfill.subject, backfill.via) == ("backfill", "gpt-99", "logger")
        assert backfill.details["price version"].startswith(first.name)
        assert (update.action, update.subject) == ("update", first.name)
        runs = await client.query(
            "SELECT by, finished, newly_priced FROM metrion.repricings FINAL WHERE filters['model'] = 'gpt-99'"
        )
        assert {row[0].split()[0] for row in runs.result_rows} == {"logger"} and any(row[1] for row in runs.result_rows)
        assert sum(row[2] for row in runs.result_rows) >= 30
        # 5. a higher price counts for new requests only
        await publish(bus, with_price(installed, "6"))
        await until(lambda: _is_priced(bus, client, owner, DOUBLE), "the higher price")
        await until(lambda: drained(bus), "the rows of all requests")
        assert (await costs(client, owner))[COST, 1] == 60
    # 6. what NATS stored before a switch is priced as before it, whenever it is delivered
    last = account()
    await send(bus, last, 6)
    rolled = await asyncio.to_thread(cli.run, "prices", "rollback", "--yes", env=env)
    assert rolled.returncode == 0, rolled.stderr
    newest = versions.current(await versions.read(js))
    assert newest is not None and (newest.number, newest.rolled_back_to, newest.sha256) == (3, 1, first.sha256)
    async with logger(settings):
        await until(lambda: _is(costs(client, last), {(DOUBLE, 2): 6}), "rows of before the rollback")
        await send(bus, last, 3, first=50)
        await until(lambda: _is(costs(client, last), {(DOUBLE, 2): 6, (COST, 3): 3}), "rows of after the rollback")
    listed = await asyncio.to_thread(cli.run, "prices", "history", env=env)
    assert "3-" in listed.stdout and "content of 1" in " ".join(listed.stdout.split()), listed.stdout


async def _has_recorded(js: JetStreamContext, *, priced: int) -> bool:
    records = await audit.read(js, area="prices")
    return sum(int(record.details["changed"]) for record in records if record.action == "backfill") >= priced


async def _is(found: Any, expected: object) -> bool:
    return bool(await found == expected)


async def _figures(client: AsyncClient, sql: str) -> list[Any]:
    return list((await client.query(sql)).result_rows[0])


async def _is_priced(bus: Client, client: AsyncClient, owner: str, cost: Decimal) -> bool:
    """Send another request; whether one has been priced so."""
    await send(bus, owner, 1, first=uuid.uuid4().int % 10**9)
    return (cost, 2) in await costs(client, owner)


async def test_all_loggers_switch_and_none_uses_a_damaged_version(
    bus: Client, nc: Client, installed: Catalog, caplog: pytest.LogCaptureFixture
) -> None:
    js = bus.jetstream()
    registries = [prometheus_client.CollectorRegistry() for _ in range(3)]
    prices = [CurrentPrices("", metrics=Metrics(registry)) for registry in registries]
    feeds = [AcceptedPrices(one, metrics=Metrics(prometheus_client.CollectorRegistry())) for one in prices]

    def broken(number: int) -> float | None:
        return feeds[number]._metrics.price_version_broken._value.get()

    tasks = [asyncio.create_task(feed.follow(nc)) for feed in feeds[:2]]
    good = await publish(bus, with_price(installed, "3"))
    await until(lambda: _all(in_use(one) == good.name for one in prices[:2]), "the switch")
    number = good.number + 1
    await js.publish(f"$KV.prices.version.{number}", b'{"number":', stream=versions.STREAM)
    await until(lambda: _all(broken(which) == 1 for which in (0, 1)), "the refusal")
    assert [in_use(one) for one in prices[:2]] == [good.name] * 2
    # a logger that starts meanwhile uses the last good one too
    await feeds[2].load(nc.jetstream())
    assert (in_use(prices[2]), broken(2)) == (good.name, 1)
    assert [record.message.split(":")[0] for record in caplog.records if record.levelname == "ERROR"] == [
        "accepted prices are not used"
    ] * 3
    later = await publish(bus, with_price(installed, "4"))
    await until(lambda: _all(in_use(one) == later.name for one in prices[:2]), "the next version")
    assert later.number == number + 1 and broken(0) == 0
    with pytest.raises(versions.Conflict):
        await versions.publish(js, msgspec.structs.replace(later, by="somebody else"))
    for task in tasks:
        await cancel_and_wait(task)


async def _all(conditions: Any) -> bool:
    return all(conditions)


async def test_healing_that_is_killed_is_completed_by_another_logger(
    line: Line, bus: Client, nc: Client, client: AsyncClient, installed: Catalog
) -> None:
    owner, js = account(), bus.jetstream()
    model = f"gpt-{owner}"
    pick = PICK.replace(b"gpt-99", model.encode())
    at = NOW - timedelta(hours=2)
    made = [
        response_row(request(owner, n, pick=pick, model=model, started_at=at + timedelta(seconds=n))) for n in range(20)
    ]
    assert not await insert.insert(client, made)
    metrics = Metrics(prometheus_client.CollectorRegistry())
    early = PriceBackfill(nc, client, prices=CurrentPrices("", metrics=metrics), metrics=metrics)
    assert await early.run_once() == 0
    assert metrics.price_waiting_tokens._value.get() >= 20 * 1100 and metrics.price_waiting_models._value.get() >= 1
    await publish(bus, with_price(installed, "3", model))
    # 1. killed between two pages
    process = await asyncio.to_thread(start_logger, line, KILLED_WHILE_REPRICING)
    try:
        assert await asyncio.to_thread(process.wait, servers.DEADLINE) == -signal.SIGKILL
    finally:
        process.kill()
        process.wait()
    priced = [row for row in await rows(client, owner) if row["cost"] is not None]
    assert len(priced) == 8 and {row["version"] for row in priced} == {3}
    assert await audit.read(js, area="prices") == []
    # 2. completed when the lease of the dead one has expired
    leases = Bucket(js, stream=versions.STREAM, prefix=versions.PREFIX)

    async def is_over() -> bool:
        return (await leases.get(f"{versions.LEASE_KEY}{backfill_module.TASK}"))[0] is None

    await until(is_over, "the end of the lease")
    async with logger(line.settings()):
        await until(lambda: _is(costs(client, owner), {(COST, 1): 20}), "completion")
        await until(lambda: _has_recorded(js, priced=12), "the audit record")
    # 3. each request once, and each run recorded
    found = await rows(client, owner)
    assert [row["version"] for row in found] == [3] * 20
    assert [row for row in found if row["id"] in {one["id"] for one in priced}] == priced
    sql = f"SELECT id, finished, changed FROM metrion.repricings FINAL WHERE filters['model'] = '{model}' ORDER BY at"
    (cut, *_), (done, *completed) = (await client.query(sql)).result_rows
    assert completed == [1, 12]
    notes = Counter(row["note"] for row in found)
    assert notes == {f"repricing {cut}": 8, f"repricing {done}": 12}
    (record,) = await audit.read(js, area="prices")
    assert (record.action, record.subject, record.details["changed"]) == ("backfill", model, "12")
    assert record.details["repricing"] == str(done)


async def test_healing_stops_as_soon_as_other_prices_are_in_use(
    bus: Client, nc: Client, client: AsyncClient, installed: Catalog
) -> None:
    owner = account()
    model = f"gpt-{owner}"
    pick = PICK.replace(b"gpt-99", model.encode())
    made = [
        response_row(request(owner, n, pick=pick, model=model, started_at=NOW + timedelta(seconds=n)))
        for n in range(12)
    ]
    assert not await insert.insert(client, made)
    metrics = Metrics(prometheus_client.CollectorRegistry())
    prices = CurrentPrices("", metrics=metrics)
    feed = AcceptedPrices(prices, metrics=metrics)
    wrong = await publish(bus, with_price(installed, "3", model))
    await feed.load(nc.jetstream())
    backfill = PriceBackfill(nc, client, prices=prices, metrics=metrics, page_rows=4, share=1)
    renewed, renew = 0, backfill._lease.renew

    async def replaced() -> None:
        nonlocal renewed
        renewed += 1
        if renewed == 2:
            await publish(bus, with_price(installed, "6", model))
            await feed.load(nc.jetstream())
        await renew()

    backfill._lease.renew = replaced  # type: ignore[method-assign]
    with pytest.raises(PricesChanged):
        await backfill.run_once()
    assert (await costs(client, owner))[None, 0] == 4, "two pages were priced, the third was not"
    assert await backfill.run_once() == 4
    assert await costs(client, owner) == {(COST, wrong.number): 8, (DOUBLE, wrong.number + 1): 4}


async def test_the_daily_update_takes_over_what_nobody_objects_to(bus: Client, nc: Client) -> None:
    js = bus.jetstream()
    metrics = [Metrics(prometheus_client.CollectorRegistry()) for _ in range(2)]
    prices = CurrentPrices("", metrics=metrics[0])
    source = price_wheel.data_module()

    async def run_both(url: str, **later: float) -> list[Checked]:
        """Two loggers at once; what either did."""
        both = [AutomaticUpdates(nc, source=url, ca_file="", metrics=one, holder=f"{one}") for one in metrics]
        done = await asyncio.gather(*(one.run_due(now=NOW + timedelta(**later)) for one in both))
        return [record for record in done if record is not None]

    async with package_index() as index:
        url = f"{index.url}/simple/"
        index.files[WHEEL] = price_wheel.wheel(price_wheel.with_model(source))
        (done,) = await run_both(url)
        accepted = versions.current(await versions.read(js))
        assert accepted is not None and (accepted.number, accepted.by.split()[0]) == (1, "logger")
        assert (done.outcome, done.text, len(index.requested)) == ("accepted", accepted.name, 2)
        assert await run_both(url, hours=23) == [] and len(index.requested) == 2
        # up to date: the prices are as old as this comparison
        (done,) = await run_both(url, days=1)
        assert done.outcome == "unchanged"
        assert await backfill_module.age(js, prices, now=NOW + timedelta(days=1)) == timedelta(0)
        # a model vanishes: nothing changes until a person agrees
        index.files[WHEEL] = price_wheel.wheel(source)
        (done,) = await run_both(url, days=2)
        assert (done.outcome, done.text) == ("refused", "openai gpt-99 is removed")
        # not what the index promised: tried again after an hour
        index.hashes[WHEEL] = "0" * 64
        (done,) = await run_both(url, days=3)
        assert done.outcome == "failed" and "not the expected one" in done.text
        assert await run_both(url, days=3, minutes=59) == []
        assert [record.outcome for record in await run_both(url, days=3, hours=1)] == ["failed"]
    assert list(await versions.read(js)) == [1]
    (record,) = await audit.read(js, area="prices")
    assert (record.action, record.subject, record.via) == ("update", accepted.name, "logger")
    assert await backfill_module.age(js, prices, now=NOW + timedelta(days=4)) == timedelta(days=3)
