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


class Books:
    """An account whose looks at batches are stored as the logger stores them."""

    def __init__(self, server: servers.ClickHouseServer | servers.External) -> None:
        self.server, self.account = server, f"b{uuid.uuid4().hex[:12]}"

    def look(
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
        return self._run(lambda client: client_module.ask(client, "cost_by_requester_model", **period))

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
def books(database: servers.ClickHouseServer | servers.External) -> Books:
    return Books(database)


def name() -> str:
    return f"batch_{uuid.uuid4().hex[:12]}"


def test_batch_is_billed_once_to_the_requester_who_fetched_it_first(books: Books) -> None:
    batch = name()
    books.store(books.look(batch, requester="bob", minutes=2), books.look(batch), books.look(batch, minutes=1))
    assert books.passes() == [0, 1], "claimed, then booked"
    books.store(*(books.look(batch, requester="eve", minutes=3 + n) for n in range(5)))
    assert books.passes(3) == [0, 0, 0]
    (row,) = books.batch_rows()
    assert (row["requester"], row["started_at"], row["cost"], row["version"]) == ("ann", NOW, RATE, 2)
    assert row["model"] == "gpt-4o-mini-2024-07-18" and row["metadata"] == {"project": "apollo"}
    assert row["unit_prices"] == {"input_mtok": Decimal("0.075"), "output_mtok": Decimal("0.3")}
    looks = books.rows("endpoint LIKE 'GET %'")
    assert len(looks) == 8 and {(one["cost"], one["cost_reason"]) for one in looks} == {(0, "batch_billed")}
    report = books.report()
    assert sum(line["cost_usd"] for line in report) == RATE and not any(line["unpriced"] for line in report)
    assert sum(line["input_tokens"] + line["output_tokens"] for line in report) == 340, "tokens, too, count once"


def test_a_batch_that_was_still_at_work_ends_with_what_it_used_in_the_end(books: Books) -> None:
    batch = name()
    books.store(books.look(batch, evidence=pick(100, 10)))
    books.passes()
    books.store(books.look(batch, minutes=5), books.look(batch, minutes=4, evidence=pick(200, 20)))
    assert books.passes(2) == [1, 0]
    (row,) = books.batch_rows()
    assert (row["cost"], row["input_tokens"], row["version"], row["started_at"]) == (RATE, 300, 3, NOW)


def test_a_batch_download_that_is_delivered_again_changes_nothing(books: Books) -> None:
    batch = name()
    look = books.look(batch)
    books.store(look)
    books.passes()
    books.store(look, books.look(name(), minutes=1))
    assert books.passes(2) == [0, 1]
    assert [row["cost"] for row in books.batch_rows()] == [RATE, RATE]
    assert [row["cost_reason"] for row in books.rows(f"id = '{look.id}'")] == ["batch_billed"]


def test_accounts_and_batches_are_told_apart(books: Books) -> None:
    batch, stranger = name(), Books(books.server)
    books.store(books.look(batch), books.look(name()))
    stranger.store(stranger.look(batch, requester="mallory"))
    books.passes()
    assert [row["requester"] for row in books.batch_rows()] == ["ann", "ann"]
    assert [row["requester"] for row in stranger.batch_rows()] == ["mallory"]


def test_concurrent_claims_of_a_batch_produce_the_same_row(books: Books) -> None:
    batch = name()
    first, second = books.look(batch), books.look(batch, requester="bob", minutes=9)
    key = (books.account, "openai", batch)
    for look in (second, first, second):  # whichever comes last, the earliest look wins
        claim = {key: msgspec.structs.asdict(look)}
        books._run(lambda client, claim=claim: batch_billing._claim(client, claim))
    books.store(first, second)
    assert books.passes(1, settled=3600) == [0], "an unsettled claim may still be outdone"
    assert books.passes(2) == [1, 0]
    assert [row["requester"] for row in books.batch_rows()] == ["ann"]


def test_results_files_count_where_no_batch_object_tells_the_usage(books: Books) -> None:
    used = Usage(model="gpt-4o-mini-2024-07-18", source="reported", input_tokens=300, output_tokens=40, batch=True)
    file: dict[str, Any] = {
        "usage": msgspec.json.encode(used).decode(),
        "endpoint": f"GET /v1/files/file-{uuid.uuid4()}/content",
    }
    mistral = books.look("x", **file | {"provider": "mistral", "model": "mistral-small-latest"})
    twice = books.look("x", **file)
    results = f"GET /v1/messages/batches/msgbatch_{uuid.uuid4().hex}/results"
    sonnet = msgspec.structs.replace(used, model="claude-sonnet-4-5-20250929")
    anthropic = books.look(
        "x", endpoint=results, provider="anthropic", model=sonnet.model, usage=msgspec.json.encode(sonnet).decode()
    )
    books.store(mistral, twice, anthropic)
    books.passes()
    found = {row["provider"]: row for row in books.batch_rows()}
    assert set(found) == {"mistral", "anthropic"}, "OpenAI's output file would bill its batch a second time"
    assert found["anthropic"]["cost"] == Decimal("0.00075"), "1.50 and 7.50 a million: 300 in, 40 out"
    assert [row["cost"] for row in books.rows(f"id = '{twice.id}'")] == [None]


def test_a_batch_of_several_models_has_a_cost_that_is_the_sum_of_theirs(books: Books) -> None:
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
    books.store(books.look("x", endpoint=results, provider="anthropic", **changes))
    books.passes()
    (row,) = books.batch_rows()
    assert (row["cost"], row["cost_source"]) == (Decimal("0.00375"), "computed")


def test_repricing_keeps_the_batch_rate_and_does_not_bill_fetches(
    books: Books, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    books.store(books.look(name()))
    books.passes()
    monkeypatch.setenv("METRION_CLICKHOUSE_URL", books.server.url("reader"))
    monkeypatch.setenv("METRION_CLICKHOUSE_ADMIN_URL", books.server.url("admin"))
    monkeypatch.delenv("METRION_PRICES_FILE", raising=False)
    assert cli.main(["reprice", "--since", "2d", "--until", "2100-01-01", "--account", books.account, "--yes"]) == 0
    assert "Nothing would change" in capsys.readouterr().err
    assert [row["cost"] for row in books.batch_rows()] == [RATE]


def test_a_batch_keeps_the_session_of_the_first_look_at_its_results(books: Books) -> None:
    batch = name()
    books.store(books.look(batch, session="first", client="claude-cli", agent="cli", evidence=pick(1)))
    books.passes()
    books.store(books.look(batch, minutes=1, session="second", client="codex_exec"))
    books.passes()
    (row,) = books.batch_rows()
    assert (row["version"], row["session"], row["client"], row["agent"]) == (3, "first", "claude-cli", "cli")
