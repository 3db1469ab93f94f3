"""From the stream to `usage` with real loggers: delivered again, cut otherwise, late, killed between two inserts."""

import asyncio
import random
import signal
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from nats.aio.client import Client

from services.logger import rows
from services.logger.rows import ResponseRow
from shared import clickhouse, rollup, rollup_tables
from shared.events import Event, RequestEvent, ResponseEvent
from shared.nats_client import connect
from tests.support import event_line as lines
from tests.support import servers
from tests.support.expected_usage import KEY, figures, stored_usage

EVERY = 0.2  # seconds between two passes

KILLED_BETWEEN_THE_INSERTS = """
import os, signal
from services.logger import insert as rows_insert
insert = rows_insert._insert
async def once(client, table, columns, batch):
    if table == "gateways":
        os.kill(os.getpid(), signal.SIGKILL)
    return await insert(client, table, columns, batch)
rows_insert._insert = once
import services.logger.__main__
"""


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[lines.Line]:
    with (
        servers.nats_server(tmp_path_factory.mktemp("nats")) as broker,
        servers.clickhouse_server(tmp_path_factory.mktemp("clickhouse")) as engine,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(rollup, "VERIFIED", timedelta(days=5))  # each day that the nightly pass verifies costs a query
        asyncio.run(servers.provision(broker, redeliver_after=3))
        yield lines.Line(broker, engine)


@pytest.fixture
async def bus(line: lines.Line) -> AsyncIterator[Client]:
    connection = await connect(line.nats.url("admin"), service="admin")
    yield connection
    await connection.close()


def late(events: Sequence[Event], *, days: float) -> list[Event]:
    """The same events of requests that began up to `days` ago; both of a request have its moment."""
    moments: dict[str, datetime] = {}
    found: list[Event] = []
    for event in events:
        if isinstance(event, RequestEvent | ResponseEvent):
            ago = timedelta(days=random.random() * days)
            moment = moments.setdefault(event.envelope.id, datetime.now(UTC) - ago)
            envelope = msgspec.structs.replace(event.envelope, started_at=moment)
            found.append(msgspec.structs.replace(event, envelope=envelope))
        else:
            found.append(event)
    return found


def recorded(events: Sequence[Event]) -> list[ResponseRow]:
    return [rows.response_row(event) for event in events if isinstance(event, ResponseEvent)]


async def assert_counted(line: lines.Line, events: Sequence[Event]) -> None:
    """Requests, views and, after a pass, the rollup: each request once."""
    client = await clickhouse.connect(line.clickhouse.url(), service="test")
    accounts = {row.account for row in recorded(events)}
    totals = [name for name in KEY if name != "requester"]
    try:
        for sources in (("usage", "usage_totals"), ("usage_15m FINAL", "usage_totals_15m FINAL")):
            for source, key in zip(sources, (KEY, totals), strict=True):
                found = await stored_usage(client, source, key=key)
                ours = {group: sums for group, sums in found.items() if group[0] in accounts}
                assert ours == figures(recorded(events), key=key), source
            await rollup.refresh(client)
    finally:
        await client.close()


async def test_events_delivered_five_times_late_and_shuffled_are_counted_once(line: lines.Line, bus: Client) -> None:
    account = f"a{uuid.uuid4().hex[:12]}"
    events = late(lines.traffic(account, 150), days=2)
    async with lines.logger(line.settings(rollup_every=EVERY)):
        await lines.until(lambda: lines.provisioned(bus), "streams")
        for size in (50, 50, 37, 133, 301):
            await lines.ship(bus, lines.cut(events, size))
            random.shuffle(events)
        await lines.stored(line, bus, account, 150)
        lines.assert_exact(line, account, events)
        await assert_counted(line, events)


async def test_a_logger_killed_between_two_inserts_counts_nothing_twice(line: lines.Line, bus: Client) -> None:
    account = f"a{uuid.uuid4().hex[:12]}"
    events = late(lines.traffic(account, 60), days=1)
    async with lines.logger(line.settings()):
        await lines.until(lambda: lines.provisioned(bus), "streams")
    process = await asyncio.to_thread(lines.start_logger, line, KILLED_BETWEEN_THE_INSERTS)
    try:
        await lines.ship(bus, [lines.packed(events)])
        assert await asyncio.to_thread(process.wait, servers.DEADLINE) == -signal.SIGKILL
    finally:
        process.kill()
        process.wait()
    assert lines.select(line, "count()", account) == ["60"]
    await assert_counted(line, events)
    async with lines.logger(line.settings(rollup_every=EVERY)):
        await lines.stored(line, bus, account, 60)
        await assert_counted(line, events)


async def test_a_row_stands_in_usage_as_soon_as_in_requests(line: lines.Line, bus: Client) -> None:
    account = f"a{uuid.uuid4().hex[:12]}"
    async with lines.logger(line.settings(rollup_every=lines.NEVER)):
        await lines.until(lambda: lines.provisioned(bus), "streams")
        for epoch in range(1, 4):
            await lines.ship(bus, [lines.packed(lines.traffic(account, 2, epoch=epoch))])
            await lines.stored(line, bus, account, 2 * epoch)
            assert lines.select(line, "sum(requests)", account, table="usage") == [str(2 * epoch)]
            assert lines.select(line, "sum(requests)", account, table="usage_totals") == [str(2 * epoch)]


async def test_a_running_logger_rolls_up_and_applies_the_retention_settings(line: lines.Line, bus: Client) -> None:
    account = f"a{uuid.uuid4().hex[:12]}"

    async def kept() -> bool:
        ttl = "SELECT count() FROM system.tables WHERE database = 'metrion' AND engine_full LIKE '%toIntervalDay({})%'"
        found = [line.clickhouse.query(ttl.format(days)) for days in (77, 99)]
        return found == ["1\n", f"{len(rollup_tables.ROLLUP)}\n"]

    async def rolled_up() -> bool:
        return lines.select(line, "sum(requests)", account, table="usage_15m") == ["10"]

    days = {"requests_days": 77, "rollup_days": 99}
    async with lines.logger(line.settings(rollup_every=EVERY, **days)):
        await lines.until(lambda: lines.provisioned(bus), "streams")
        await lines.ship(bus, [lines.packed(late(lines.traffic(account, 10), days=1))])
        await lines.until(rolled_up, "a pass")
        await lines.until(kept, "the times to live")
