"""`metrion prune` on a real ClickHouse: a requester's rows are gone for good, everybody else's stay."""

import asyncio
import itertools
import json
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from msgspec import Struct

from services.cli import confirm
from services.cli import main as cli
from services.logger import insert, rows, sweep
from services.logger.rows import RequestRow, ResponseRow
from shared import clickhouse as client_module
from shared import stream_reader
from shared.alerts.model import ALERTS_BUCKET, ALERTS_STREAM, Entry, State
from shared.nats_client import connect
from tests.support import ports, sample_rows, servers

Prune = Callable[..., tuple[int, str, str]]
SEEDS = itertools.count(30)  # each its own: rows of the same ids would pass for a repeated delivery
ANN = "ann o'neil \\ 50% {x}"


class TwoAccounts:
    """Two accounts with the same requesters."""

    def __init__(self, server: servers.ClickHouseServer | servers.External) -> None:
        self.server = server
        self.mine, self.other = (f"p{uuid.uuid4().hex[:12]}" for _ in range(2))

    async def _client(self) -> Any:
        return await client_module.connect(self.server.url("logger"), service="test")

    def fill(self) -> None:
        async def go() -> None:
            client = await self._client()
            for account in (self.mine, self.other):
                made = [
                    msgspec.structs.replace(row, requester=ANN if row.requester == "ann" else row.requester)
                    for row in sample_rows.generate(next(SEEDS), account=account, count=200)
                ]
                assert not await insert.insert(client, [*made, *(asked(row) for row in made)])
            await client.close()

        asyncio.run(go())

    def counts(self, table: str, account: str) -> dict[str, int]:
        async def go() -> dict[str, int]:
            client = await self._client()
            sql = f"SELECT requester, count() FROM metrion.{table} WHERE account = '{account}' GROUP BY requester"
            found = dict((await client.query(sql)).result_rows)
            await client.close()
            return found

        return asyncio.run(go())

    def erasures(self) -> list[dict[str, Any]]:
        async def go() -> list[dict[str, Any]]:
            client = await self._client()
            sql = f"SELECT * FROM metrion.erasures FINAL WHERE account = '{self.mine}'"
            found = list((await client.query(sql)).named_results())
            await client.close()
            return found

        return asyncio.run(go())

    def sweep(self) -> int:
        async def go() -> int:
            client = await self._client()
            limits = sweep.Limits(grace=0, silence=0)
            recorded = await sweep.sweep(client, limits=limits, back=timedelta(days=7))
            await client.close()
            return recorded

        return asyncio.run(go())


def asked(row: ResponseRow) -> RequestRow:
    envelope = {name: getattr(row, name) for name in RequestRow.__struct_fields__}
    return RequestRow(**envelope | {"started_at": datetime.now(UTC) - timedelta(days=1)})


@pytest.fixture
def known(database: servers.ClickHouseServer | servers.External) -> TwoAccounts:
    found = TwoAccounts(database)
    found.fill()
    return found


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.NatsServer]:
    with servers.nats_server(tmp_path_factory.mktemp("nats")) as found:
        asyncio.run(servers.provision(found))
        yield found


@pytest.fixture
def prune(
    known: TwoAccounts, broker: servers.NatsServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Prune:
    monkeypatch.setenv("METRION_CLICKHOUSE_URL", known.server.url("reader"))
    monkeypatch.setenv("METRION_CLICKHOUSE_ADMIN_URL", known.server.url("admin"))
    monkeypatch.setenv("METRION_NATS_URL", broker.url("admin"))

    def run(*arguments: str, requester: str = ANN) -> tuple[int, str, str]:
        status = cli.main(["prune", "--requester", requester, *arguments])
        out, err = capsys.readouterr()
        return status, out, err

    return run


def test_no_row_of_the_requester_is_left_and_no_other_is_touched(known: TwoAccounts, prune: Prune) -> None:
    tables = ("response_events", "request_events", "requests")
    before = {table: known.counts(table, known.mine) for table in tables}
    other = {table: known.counts(table, known.other) for table in tables}
    assert all(counts[ANN] for counts in before.values())
    status, _, err = prune("--account", known.mine, "--yes", "--note", "ticket 7")
    assert status == 0, err
    expected = before["response_events"][ANN] + before["request_events"][ANN]
    assert f"{expected} rows deleted" in err and "counts the deleted rows as missing" in err
    for table in tables:
        del before[table][ANN]
        assert known.counts(table, known.mine) == before[table], table
        assert known.counts(table, known.other) == other[table], table
    (record,) = known.erasures()
    assert (record["finished"], record["note"], sum(record["rows"].values())) == (1, "ticket 7", expected)
    assert ANN not in str(record), "the record does not keep what was to be forgotten"
    status, _, err = prune("--account", known.mine, "--yes")
    assert status == 0 and "No data of requester" in err and len(known.erasures()) == 1


def test_erased_requests_do_not_come_back_as_interrupted(known: TwoAccounts, prune: Prune) -> None:
    known.sweep()
    prune("--account", known.mine, "--yes")
    assert known.sweep() == 0
    assert ANN not in known.counts("response_events", known.mine)


def test_prune_without_an_account_covers_all_accounts(known: TwoAccounts, prune: Prune) -> None:
    assert prune("--yes")[0] == 0
    assert ANN not in known.counts("requests", known.mine) | known.counts("requests", known.other)


def test_prune_deletes_nothing_without_confirmation(
    known: TwoAccounts, prune: Prune, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = known.counts("response_events", known.mine)
    status, out, err = prune("--account", known.mine, "--dry-run")
    assert status == 0 and str(before[ANN]) in out and "nothing was deleted" in err
    assert "nothing was deleted" in prune("--account", known.mine)[2], "no terminal, no confirmation"
    monkeypatch.setattr(confirm, "is_dry_run", lambda *, dry_run, yes: dry_run)
    monkeypatch.setattr("sys.stdin.readline", lambda: "\n", raising=False)
    status, _, err = prune("--account", known.mine)
    assert status == 1 and "Permanently delete" in err and "? [y/N]" in err
    assert known.counts("response_events", known.mine) == before and not known.erasures()


def test_alerts_no_longer_name_an_erased_requester(
    known: TwoAccounts, broker: servers.NatsServer, prune: Prune, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = datetime.now(UTC)

    async def named(*made: tuple[str, Struct]) -> list[str]:
        """Write records of the alerts bucket; the names in all of them, by what the server has stored."""
        nc = await connect(broker.url("logger"), service="logger")
        js = nc.jetstream()
        for key, record in made:
            await js.publish(f"$KV.{ALERTS_BUCKET}.{key}", msgspec.json.encode(record))
        found = await stream_reader.messages(js, ALERTS_STREAM, f"$KV.{ALERTS_BUCKET}.>")
        await nc.close()
        return sorted(msgspec.json.decode(message.data)["subject"] for message in found if message.data)

    def state(who: str) -> State:
        return State(level="alert", value="1", at=at, subject=who)

    def entry(who: str) -> Entry:
        return Entry(at=at, level="alert", value="1", subject=who)

    mine, other = known.mine, known.other
    written = asyncio.run(
        named(
            (f"state.{mine}.each.1", state(ANN)),
            (f"state.{mine}.each.-", state(ANN)),
            (f"state.{mine}.each.2", state("bob")),
            (f"history.{mine}.each.1", entry(ANN)),
            (f"history.{mine}.each.2", entry("bob")),
            (f"history.{other}.each.1", entry(ANN)),
        )
    )
    assert written == sorted([ANN] * 4 + ["bob"] * 2)
    status, out, _ = prune("--account", mine, "--dry-run", "--json")
    assert (status, json.loads(out)["rows"][-1]) == (0, {"table": "alerts", "rows": 3})
    assert prune("--account", mine, "--yes")[0] == 0
    assert asyncio.run(named()) == sorted([ANN, "bob", "bob"])
    monkeypatch.setenv("METRION_NATS_URL", f"nats://127.0.0.1:{ports.free_port()}")
    status, _, err = prune("--account", other, "--yes")
    assert (status, "Alerts may still name the requester" in err) == (1, True)


def test_prune_refuses_an_empty_requester(known: TwoAccounts, prune: Prune) -> None:
    before = known.counts("response_events", known.mine)
    status, _, err = prune("--yes", requester="")
    assert status == 1 and "cannot be attributed" in err
    assert known.counts("response_events", known.mine) == before


def test_every_table_that_names_requesters_is_erased(known: TwoAccounts) -> None:
    """A table that came later with a requester, and rows of its own version scheme, must be found too."""

    async def go() -> set[str]:
        client = await known._client()
        await client.command(
            "CREATE TABLE metrion.later (account String, requester String) ENGINE = MergeTree ORDER BY ()"
        )
        try:
            return {row["table"] for row in await client_module.run_query(client, "erasure_tables")}
        finally:
            await client.command("DROP TABLE metrion.later SYNC")
            await client.close()

    assert asyncio.run(go()) >= {"request_events", "response_events", "later"}
    assert rows.TABLES[ResponseRow] == "response_events"
