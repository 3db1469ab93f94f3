"""Imported requests: one row however often they are exported, complete figures, and nothing used of a budget."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from nats.aio.client import Client

from services.gateway.telemetry_import import agent_usage, imported_events, log_records
from services.gateway.telemetry_import.imported_events import Sender
from shared import clickhouse, rollup
from shared.accounts_model import Token
from shared.events import Event
from shared.nats_client import connect
from tests.support import servers
from tests.support.event_line import Line, logger, packed, select, ship, stored, traffic
from tests.support.telemetry_exports import claude, codex, export


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    with (
        servers.nats_server(tmp_path_factory.mktemp("nats")) as broker,
        servers.clickhouse_server(tmp_path_factory.mktemp("clickhouse")) as engine,
    ):
        asyncio.run(servers.provision(broker, redeliver_after=3))
        yield Line(broker, engine)


@pytest.fixture
async def bus(line: Line) -> AsyncIterator[Client]:
    connection = await connect(line.nats.url("admin"), service="admin")
    yield connection
    await connection.close()


def imported(account: str, at: datetime) -> list[Event]:
    """Two requests of one export."""
    sender = Sender(Token(account, "laptop", at), requester="", metadata={}, gateway="g-0")
    data = export(claude(at=at), codex(at=at)).SerializeToString()
    found = []
    for record in log_records.decode(data, log_records.PROTOBUF):
        usage = agent_usage.read(record)
        assert usage is not None
        found.append(imported_events.build(usage, record.resource, sender=sender, now=datetime.now(UTC)))
    return list(found)


async def test_a_repeated_export_is_one_row_and_leaves_completeness_and_budgets_alone(line: Line, bus: Client) -> None:
    account = f"a{uuid.uuid4().hex[:12]}"
    at = datetime.now(UTC) - timedelta(minutes=20)
    own = traffic(account, 3)
    async with logger(line.settings(rollup_every=3600.0)):
        await ship(bus, [packed(own + imported(account, at))])
        await stored(line, bus, account, 5)
        for _ in range(3):  # other messages: NATS does not know that they repeat
            await ship(bus, [packed(imported(account, at))])
        await stored(line, bus, account, 5)

    sums = (
        "count(), countIf(source = 'imported'), countIf(is_answered), sumIf(input_tokens, is_imported),"
        " countIf(cost IS NULL)"
    )
    assert select(line, sums, account) == ["5", "2", "3", "2000", "0"]
    client = await clickhouse.connect(line.clickhouse.url(), service="test")
    complete = await clickhouse.run_query(client, "completeness", since=at - timedelta(hours=1))
    (instance,) = [row for row in complete if row["spool"] == account]
    assert (instance["sent"], instance["stored"], instance["missing"], instance["duplicated"]) == (6, 6, 0, 0)
    assert all(row["spool"] for row in complete)

    async def budget(query: str, **more: object) -> tuple[int, int]:
        period = {"since": at - timedelta(days=1), "until": at + timedelta(days=1)}
        nobody = {"token": "", "requester": "", "provider": "", "each_token": False, "each_requester": False}
        (row,) = await clickhouse.run_query(client, query, account=account, **period, **nobody, **more)
        return row["requests_sum"], row["tokens_sum"]

    used = (3, sum(3 * tokens for tokens in (1, 2, 3)))
    for rolled_up in (False, True):
        if rolled_up:
            await rollup.refresh(client)
        assert await budget("limit_usage") == used
    assert await budget("limit_usage_requests", each_model=False, metadata_key="") == used
    await client.close()
