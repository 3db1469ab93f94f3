"""Batches against a real ClickHouse: each is billed once, at the batch rate, however often its results are fetched."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from services.cli import main as cli
from services.logger import batch_billing, insert, rows
from services.logger.rows import ResponseRow
from shared import clickhouse as client_module
from shared import events
from shared.events import Envelope, Evidence, Origin, ResponseEvent
from shared.pricing.table import Table
from shared.usage import Usage
from tests.support import servers

RATE = Decimal("0.0000345")  # gpt-4o-mini's batch prices, 0.075 and 0.30 a million: 300 in, 40 out
NOW = datetime.now(UTC)


def pick(input_tokens: int = 300, output_tokens: int = 40) -> bytes:
    """What the gateway keeps of OpenAI's batch object."""
    usage = {"input_tokens": input_tokens, "output_tokens": output_tokens, "total_tokens": input_tokens + output_tokens}
    return msgspec.json.encode({"object": "batch", "model": "gpt-4o-mini-2024-07-18", "usage": usage})


class AccountRows:
    """An account whose fetches of batches are stored as the logger stores them."""

    def __init__(self, server: servers.ClickHouseServer | servers.External) -> None:
        self.server, self.account = server, f"b{uuid.uuid4().hex[:12]}"

    def fetch(
        self, batch: str, *, requester: str = "ann", minutes: int = 0, evidence: bytes = b"", **changes: Any
    ) -> ResponseRow:
        envelope = Envelope(
            str(uuid.uuid4()), self.account, "ci", requester, {"project": "apollo"}, "openai", events.OPENAI_OTHER,
            f"GET /v1/batches/{batch}", "", False, NOW + timedelta(minutes=minutes), "g",
        )  # fmt: skip
        event = ResponseEvent(
            origin=Origin("spool", 7, 11), envelope=envelope, status=200, outcome=events.COMPLETE, error_type="",
            error_message="", provider_request_id="", latency_ms=120, ttfb_ms=40, request_bytes=0, response_bytes=500,
            cache="", drained=False, upstream=True, evidence=Evidence((evidence or pick(),)),
        )  # fmt: skip
        row = rows.row(event)
        assert isinstance(row, ResponseRow) and row.cost is None and row.cost_reason == "batch"
        return msgspec.structs.replace(row, **changes)

    def store(self, *batch: ResponseRow) -> None:
        self._run(lambda client: insert.insert(client, batch))

    def passes(self, count: int = 2, *, settled: float = 0) -> list[int]:
        """So many passes of the logger; how many rows of batches each wrote."""
        since = NOW - timedelta(hours=1)
        return [
            self._run(lambda client: batch_billing.bill(client, prices=Table.default(), since=since, settled=settled))
            for _ in range(count)
        ]

    def rows(self, where: str = "1") -> list[dict[str, Any]]:
        sql = f"SELECT * FROM metrion.requests WHERE account = '{self.account}' AND {where} ORDER BY started_at, id"
        return self._query(sql)

    def batch_rows(self) -> list[dict[str, Any]]:
        return self.rows("endpoint LIKE 'BATCH %'")

    def report(self) -> list[dict[str, Any]]:
        period = {"since": NOW - timedelta(days=1), "until": NOW + timedelta(days=1), "account": self.account}
        return self._run(lambda client: client_module.run_query(client, "cost_by_requester_model", **period))

    def _query(self, sql: str) -> list[dict[str, Any]]:
        async def go(client: Any) -> list[dict[str, Any]]:
            return list((await client.query(sql)).named_results())

        return self._run(go)

    def _run(self, work: Any) -> Any:
        async def go() -> Any:
            client = await client_module.connect(self.server.url("logger"), service="test")
            try:
                return await work(client)
            finally:
                await client.close()

        return asyncio.run(go())


@pytest.fixture
def account_rows(database: servers.ClickHouseServer | servers.External) -> AccountRows:
    return AccountRows(database)


def name() -> str:
    return f"batch_{uuid.uuid4().hex[:12]}"


def test_batch_is_billed_once_to_the_requester_who_fetched_it_first(account_rows: AccountRows) -> None:
    batch = name()
    account_rows.store(
        account_rows.fetch(batch, requester="bob", minutes=2),
        account_rows.fetch(batch),
        account_rows.fetch(batch, minutes=1),
    )
    assert account_rows.passes() == [0, 1], "claimed, then recorded"
    account_rows.store(*(account_rows.fetch(batch, requester="eve", minutes=3 + n) for n in range(5)))
    assert account_rows.passes(3) == [0, 0, 0]
    (row,) = account_rows.batch_rows()
    assert (row["requester"], row["started_at"], row["cost"], row["version"]) == ("ann", NOW, RATE, 2)
    assert row["model"] == "gpt-4o-mini-2024-07-18" and row["metadata"] == {"project": "apollo"}
    assert row["unit_prices"] == {"input_mtok": Decimal("0.075"), "output_mtok": Decimal("0.3")}
    fetches = account_rows.rows("endpoint LIKE 'GET %'")
    assert len(fetches) == 8 and {(one["cost"], one["cost_reason"]) for one in fetches} == {(0, "batch_billed")}
    report = account_rows.report()
    assert sum(line["cost_usd"] for line in report) == RATE and not any(line["unpriced"] for line in report)
    assert sum(line["input_tokens"] + line["output_tokens"] for line in report) == 340, "tokens, too, count once"


def test_a_batch_fetched_while_in_progress_is_billed_for_its_final_usage(account_rows: AccountRows) -> None:
    batch = name()
    account_rows.store(account_rows.fetch(batch, evidence=pick(100, 10)))
    account_rows.passes()
    account_rows.store(
        account_rows.fetch(batch, minutes=5), account_rows.fetch(batch, minutes=4, evidence=pick(200, 20))
    )
    assert account_rows.passes(2) == [1, 0]
    (row,) = account_rows.batch_rows()
    assert (row["cost"], row["input_tokens"], row["version"], row["started_at"]) == (RATE, 300, 3, NOW)


def test_a_batch_download_that_is_delivered_again_changes_nothing(account_rows: AccountRows) -> None:
    batch = name()
    fetched = account_rows.fetch(batch)
    account_rows.store(fetched)
    account_rows.passes()
    account_rows.store(fetched, account_rows.fetch(name(), minutes=1))
    assert account_rows.passes(2) == [0, 1]
    assert [row["cost"] for row in account_rows.batch_rows()] == [RATE, RATE]
    assert [row["cost_reason"] for row in account_rows.rows(f"id = '{fetched.id}'")] == ["batch_billed"]


def test_batches_of_the_same_name_are_separate_by_account(account_rows: AccountRows) -> None:
    batch, stranger = name(), AccountRows(account_rows.server)
    account_rows.store(account_rows.fetch(batch), account_rows.fetch(name()))
    stranger.store(stranger.fetch(batch, requester="mallory"))
    account_rows.passes()
    assert [row["requester"] for row in account_rows.batch_rows()] == ["ann", "ann"]
    assert [row["requester"] for row in stranger.batch_rows()] == ["mallory"]


def test_concurrent_claims_of_a_batch_produce_the_same_row(account_rows: AccountRows) -> None:
    batch = name()
    first, second = account_rows.fetch(batch), account_rows.fetch(batch, requester="bob", minutes=9)
    key = (account_rows.account, "openai", batch)
    for fetched in (second, first, second):  # whichever comes last, the earliest fetched wins
        claim = {key: msgspec.structs.asdict(fetched)}
        account_rows._run(lambda client, claim=claim: batch_billing._claim(client, claim))
    account_rows.store(first, second)
    assert account_rows.passes(1, settled=3600) == [0], "an unsettled claim may still be outdone"
    assert account_rows.passes(2) == [1, 0]
    assert [row["requester"] for row in account_rows.batch_rows()] == ["ann"]


def test_results_files_count_where_no_batch_object_tells_the_usage(account_rows: AccountRows) -> None:
    used = Usage(model="gpt-4o-mini-2024-07-18", source="reported", input_tokens=300, output_tokens=40, batch=True)
    file: dict[str, Any] = {
        "usage": msgspec.json.encode(used).decode(),
        "endpoint": f"GET /v1/files/file-{uuid.uuid4()}/content",
    }
    mistral = account_rows.fetch("x", **file | {"provider": "mistral", "model": "mistral-small-latest"})
    twice = account_rows.fetch("x", **file)
    results = f"GET /v1/messages/batches/msgbatch_{uuid.uuid4().hex}/results"
    sonnet = msgspec.structs.replace(used, model="claude-sonnet-4-5-20250929")
    anthropic = account_rows.fetch(
        "x", endpoint=results, provider="anthropic", model=sonnet.model, usage=msgspec.json.encode(sonnet).decode()
    )
    account_rows.store(mistral, twice, anthropic)
    account_rows.passes()
    found = {row["provider"]: row for row in account_rows.batch_rows()}
    assert set(found) == {"mistral", "anthropic"}, "OpenAI's output file would bill its batch a second time"
    assert found["anthropic"]["cost"] == Decimal("0.00075"), "1.50 and 7.50 a million: 300 in, 40 out"
    assert [row["cost"] for row in account_rows.rows(f"id = '{twice.id}'")] == [None]


def test_a_batch_of_several_models_has_a_cost_that_is_the_sum_of_theirs(account_rows: AccountRows) -> None:
    sonnet = Usage(
        model="claude-sonnet-4-5-20250929", source="reported", input_tokens=1000, output_tokens=100, batch=True
    )
    haiku = Usage(
        model="claude-haiku-4-5-20251001", source="reported", input_tokens=2000, output_tokens=200, batch=True
    )
    used = Usage(source="reported", input_tokens=3000, output_tokens=300, batch=True, parts=(sonnet, haiku))
    results = f"GET /v1/messages/batches/msgbatch_{uuid.uuid4().hex}/results"
    changes: dict[str, Any] = {
        "model": "",
        "input_tokens": 3000,
        "output_tokens": 300,
        "usage": msgspec.json.encode(used).decode(),
    }
    account_rows.store(account_rows.fetch("x", endpoint=results, provider="anthropic", **changes))
    account_rows.passes()
    (row,) = account_rows.batch_rows()
    assert (row["cost"], row["cost_source"]) == (Decimal("0.00375"), "computed")


def test_repricing_keeps_the_batch_rate_and_does_not_bill_fetches(
    account_rows: AccountRows, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    account_rows.store(account_rows.fetch(name()))
    account_rows.passes()
    monkeypatch.setenv("METRION_CLICKHOUSE_URL", account_rows.server.url("reader"))
    monkeypatch.setenv("METRION_CLICKHOUSE_ADMIN_URL", account_rows.server.url("admin"))
    monkeypatch.delenv("METRION_PRICES_FILE", raising=False)
    assert (
        cli.main(["reprice", "--since", "2d", "--until", "2100-01-01", "--account", account_rows.account, "--yes"]) == 0
    )
    assert "Nothing would change" in capsys.readouterr().err
    assert [row["cost"] for row in account_rows.batch_rows()] == [RATE]


def test_a_batch_keeps_the_session_that_first_fetched_its_results(account_rows: AccountRows) -> None:
    batch = name()
    account_rows.store(account_rows.fetch(batch, session="first", client="claude-cli", agent="cli", evidence=pick(1)))
    account_rows.passes()
    account_rows.store(account_rows.fetch(batch, minutes=1, session="second", client="codex_exec"))
    account_rows.passes()
    (row,) = account_rows.batch_rows()
    assert (row["version"], row["session"], row["client"], row["agent"]) == (3, "first", "claude-cli", "cli")
