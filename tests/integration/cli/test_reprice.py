"""`metrion reprice` against a real ClickHouse: newer versions where the money changes, and nothing else, ever."""

import asyncio
import json
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from services.cli import confirm
from services.cli import main as cli
from services.logger import insert, rows
from services.logger.rows import RequestRow, ResponseRow
from shared import clickhouse as client_module
from shared import events
from shared.events import Envelope, Evidence, Origin, ResponseEvent
from shared.repricing import history
from tests.support import servers

AT = datetime(2026, 11, 3, 12, tzinfo=UTC)
PERIOD = ("--since", "2026-11-01", "--until", "2026-11-05")
KNOWN = '{"model":"gpt-4o-2024-08-06","usage":{"prompt_tokens":1000,"completion_tokens":100}}'  # 0.0035 USD
OWN = '{"model":"house-7b","usage":{"prompt_tokens":1000,"completion_tokens":100}}'
GROK = '{"model":"grok-4","usage":{"prompt_tokens":1000,"completion_tokens":100,"cost_in_usd_ticks":123000000}}'

Main = Callable[..., tuple[int, str, str]]


class AccountRows:
    """One account of a ClickHouse, written to as the logger does."""

    def __init__(self, server: servers.ClickHouseServer | servers.External) -> None:
        self.server, self.account = server, f"r{uuid.uuid4().hex[:12]}"

    def store(self, *batch: ResponseRow | RequestRow) -> None:
        async def go() -> None:
            client = await client_module.connect(self.server.url("logger"), service="test")
            assert not await insert.insert(client, batch)
            await client.close()

        asyncio.run(go())

    def rows(self, table: str = "requests", where: str = "1") -> list[dict[str, Any]]:
        async def go() -> list[dict[str, Any]]:
            client = await client_module.connect(self.server.url("logger"), service="test")
            sql = f"SELECT * FROM metrion.{table} WHERE {where} AND account = '{self.account}' ORDER BY ALL"
            if table == "repricings":
                sql = f"SELECT * FROM metrion.repricings FINAL WHERE filters['account'] = '{self.account}' ORDER BY at"
            found = list((await client.query(sql)).named_results())
            await client.close()
            return found

        return asyncio.run(go())

    def event(
        self, pick: str = KNOWN, *, provider: str = "openai", model: str = "gpt-4o", **changes: Any
    ) -> ResponseEvent:
        endpoint = changes.pop("endpoint", "POST /v1/chat/completions")
        envelope = Envelope(
            str(uuid.uuid4()), self.account, "ci", "ann", {"project": "apollo"}, provider, events.OPENAI_CHAT, endpoint,
            model, False, changes.pop("at", AT), "g",
        )  # fmt: skip
        given = ResponseEvent(
            origin=Origin("spool", 7, 11), envelope=envelope, status=200, outcome=events.COMPLETE, error_type="",
            error_message="", provider_request_id="req_1", latency_ms=120, ttfb_ms=40, request_bytes=300,
            response_bytes=500, cache="", drained=False, upstream=True, evidence=Evidence((pick.encode(),)),
        )  # fmt: skip
        return msgspec.structs.replace(given, **changes)

    def priced(self, pick: str = KNOWN, **changes: Any) -> ResponseRow:
        """The row that the logger makes of an answer."""
        row = rows.row(self.event(pick, **changes))
        assert isinstance(row, ResponseRow)
        return row


@pytest.fixture
def account_rows(database: servers.ClickHouseServer | servers.External) -> AccountRows:
    return AccountRows(database)


@pytest.fixture
def prices(tmp_path: Path) -> Path:
    """gpt-4o's input at 1 USD instead of 2.50, and a price for a model that has none."""
    lines = [("gpt-4o*", "input_mtok", "1"), ("house-7b", "input_mtok", "0.5"), ("house-7b", "output_mtok", "1")]
    path = tmp_path / "prices.toml"
    path.write_text(
        "".join(
            f'[[price]]\nprovider = "openai"\nmodel = "{model}"\nunit = "{unit}"\nprice = "{price}"\nsource = "x"\n'
            for model, unit, price in lines
        )
    )
    return path


@pytest.fixture
def main(
    account_rows: AccountRows, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], prices: Path
) -> Iterator[Main]:
    """Run `metrion reprice` in this process: its exit status, what it printed, what it remarked."""
    monkeypatch.setenv("METRION_CLICKHOUSE_URL", account_rows.server.url("reader"))
    monkeypatch.setenv("METRION_CLICKHOUSE_ADMIN_URL", account_rows.server.url("admin"))
    monkeypatch.delenv("METRION_PRICES_FILE", raising=False)

    def run(*arguments: str, given: bool = True) -> tuple[int, str, str]:
        own = ("--prices", str(prices)) if given else ()
        status = cli.main(["reprice", *PERIOD, "--account", account_rows.account, *own, *arguments])
        out, err = capsys.readouterr()
        return status, out, err

    yield run


def test_history_gets_new_prices_as_newer_versions_and_the_record_says_so(
    account_rows: AccountRows, main: Main
) -> None:
    known, unknown = account_rows.priced(), account_rows.priced(OWN)
    assert (known.cost, unknown.cost, unknown.cost_reason) == (Decimal("0.0035"), None, "unknown_model")
    account_rows.store(known, unknown)
    before = {str(row["id"]): row for row in account_rows.rows()}
    status, out, err = main("--yes", "--json", "--note", "contract of November")
    assert status == 0 and "2 new versions written" in err
    report = json.loads(out)
    lines = {line["model"]: line for line in report["rows"]}
    assert lines["gpt-4o-2024-08-06"] == {
        "provider": "openai", "model": "gpt-4o-2024-08-06", "requests": 1, "changed": 1, "newly_priced": 0,
        "newly_unknown": 0, "before": "0.0035", "after": "0.002", "difference": "-0.0015",
    }  # fmt: skip
    assert (lines["house-7b"]["newly_priced"], lines["house-7b"]["after"]) == (1, "0.0006")
    after = {str(row["id"]): row for row in account_rows.rows()}
    (record,) = account_rows.rows("repricings")
    for row in after.values():
        assert row["version"] == 3 and row["note"] == f"repricing {record['id']}"
        assert row["price_version"] == record["price_version"] == report["price_version"] != known.price_version
        untouched = set(row) - {"version", "note", "ingested_at", "cost", "cost_by_class", "unit_prices"}
        untouched -= {"cost_source", "cost_reason", "price_version"}
        old = before[str(row["id"])]
        assert {name: row[name] for name in untouched} == {name: old[name] for name in untouched}
    assert after[known.id]["cost"] == Decimal("0.002") == sum(after[known.id]["cost_by_class"].values())
    assert after[known.id]["unit_prices"]["input_mtok"] == 1
    assert (after[unknown.id]["cost_source"], after[unknown.id]["cost_reason"]) == ("computed", "")
    (raw,) = account_rows.rows("response_events", where=f"id = '{known.id}' AND version = 3")
    assert (raw["spool"], raw["epoch"], raw["sequence"], raw["dialect"]) == ("spool", 7, 11, events.OPENAI_CHAT)
    assert raw["usage"] == known.usage and raw["started_at"] == known.started_at
    assert (record["examined"], record["changed"], record["newly_priced"], record["finished"]) == (2, 2, 1, 1)
    assert (record["cost_before"], record["cost_after"]) == (Decimal("0.0035"), Decimal("0.0026"))
    assert record["note"] == "contract of November" and "@" in record["by"] and record["filters"]["since"]


def test_a_second_run_changes_nothing_and_other_prices_make_one_more_version(
    account_rows: AccountRows, main: Main
) -> None:
    row = account_rows.priced()
    account_rows.store(row)
    main("--yes")
    status, out, err = main("--yes")
    assert status == 0 and "Nothing would change" in err and "0.002" in out
    assert len(account_rows.rows("repricings")) == 1, "a run that changes nothing leaves no trace"
    main("--yes", given=False)  # the built-in prices again
    (now,) = account_rows.rows()
    assert (now["version"], now["cost"]) == (4, row.cost)


def test_a_late_delivery_of_the_response_does_not_bring_the_old_price_back(
    account_rows: AccountRows, main: Main
) -> None:
    row = account_rows.priced()
    account_rows.store(row)
    main("--yes")
    account_rows.store(row, account_rows.priced())  # in another batch, so that no deduplication token hides it
    assert {row["cost"] for row in account_rows.rows(where=f"id = '{row.id}'")} == {Decimal("0.002")}


def test_an_interrupted_request_is_left_alone_for_its_response_may_still_come(
    account_rows: AccountRows, main: Main
) -> None:
    answered_row = account_rows.priced()
    envelope = {name: getattr(answered_row, name) for name in RequestRow.__struct_fields__}
    account_rows.store(rows.interrupted(RequestRow(**envelope)))
    status, _, err = main("--yes")
    assert status == 0 and "Nothing would change" in err
    account_rows.store(answered_row)
    (row,) = account_rows.rows()
    assert (row["version"], row["cost"]) == (2, answered_row.cost)


def test_hits_refusals_errors_batches_and_stated_charges_keep_their_meaning(
    account_rows: AccountRows, main: Main
) -> None:
    made = {
        "hit": account_rows.priced(cache="HIT"),
        "unknown hit": account_rows.priced(OWN, cache="HIT"),
        "refused": account_rows.priced(upstream=False, status=429, error_type="rate_limit"),
        "error": account_rows.priced(status=500),
        "left": account_rows.priced(status=499, outcome=events.CLIENT_CLOSED),
        "batch": account_rows.priced(KNOWN.replace('"usage"', '"service_tier":"batch","usage"')),
        "stated": account_rows.priced(GROK, provider="grok", model="grok-4"),
        "free": account_rows.priced(endpoint="GET /v1/models"),
        "silent": account_rows.priced("{}"),
    }
    account_rows.store(*made.values())
    assert main("--yes")[0] == 0
    now = {str(row["id"]): row for row in account_rows.rows()}
    found = {name: now[row.id] for name, row in made.items()}
    hit, unknown = found["hit"], found["unknown hit"]
    assert (hit["cost"], hit["cost_saved"], hit["cost_reason"]) == (0, Decimal("0.002"), "cache_hit")
    assert (unknown["cost"], unknown["cost_saved"], unknown["version"]) == (0, Decimal("0.0006"), 3)
    for name in ("refused", "error", "left", "batch", "stated", "free", "silent"):
        assert (found[name]["version"], found[name]["cost"]) == (2, made[name].cost), name
    assert found["batch"]["cost"] is None and found["stated"]["cost"] == Decimal("0.0123")
    assert (found["refused"]["cost"], found["left"]["cost"]) == (0, None)


def test_a_subscriptions_request_stays_free_and_its_equivalent_is_priced_again(
    account_rows: AccountRows, main: Main
) -> None:
    def subscribed(pick: str) -> ResponseRow:
        event = account_rows.event(pick)
        envelope = msgspec.structs.replace(event.envelope, billing=events.SUBSCRIPTION)
        row = rows.row(msgspec.structs.replace(event, envelope=envelope))
        assert isinstance(row, ResponseRow)
        return row

    known, unknown, silent = subscribed(KNOWN), subscribed(OWN), subscribed("{}")
    assert (known.cost, known.cost_equivalent, known.cost_reason) == (0, Decimal("0.0035"), "subscription")
    assert (unknown.cost, unknown.cost_equivalent) == (0, None)
    account_rows.store(known, unknown, silent)
    assert main("--yes")[0] == 0
    found = {str(row["id"]): row for row in account_rows.rows()}
    assert {row["cost"] for row in found.values()} == {0}
    assert (found[known.id]["version"], found[known.id]["cost_equivalent"]) == (3, Decimal("0.002"))
    assert (found[unknown.id]["version"], found[unknown.id]["cost_equivalent"]) == (3, Decimal("0.0006"))
    assert (found[silent.id]["version"], found[silent.id]["cost_reason"]) == (2, "subscription:usage_absent")


def test_an_estimate_is_priced_again_and_stays_an_estimate(account_rows: AccountRows, main: Main) -> None:
    estimated = {"usage_source": "estimated", "cost_source": "estimated", "cost_reason": "estimated:output"}
    row = msgspec.structs.replace(account_rows.priced(), **estimated)
    used = msgspec.json.decode(row.usage) | {"source": "estimated", "estimated": ["output"]}
    kept = msgspec.structs.replace(row, usage=msgspec.json.encode(used).decode())
    lost = msgspec.structs.replace(account_rows.priced("{}"), **estimated, cost=Decimal(1))
    account_rows.store(kept, lost)
    main("--yes")
    now = {str(row["id"]): row for row in account_rows.rows()}
    assert (now[kept.id]["cost"], now[kept.id]["version"]) == (Decimal("0.002"), 3)
    assert {name: now[kept.id][name] for name in estimated} == estimated
    assert (now[lost.id]["cost"], now[lost.id]["version"]) == (1, 2), "no counts were kept: the estimate stands"


def test_reprice_writes_nothing_without_confirmation(
    account_rows: AccountRows, main: Main, monkeypatch: pytest.MonkeyPatch
) -> None:
    account_rows.store(account_rows.priced())
    status, out, err = main("--dry-run")
    assert status == 0 and "0.002" in out and "nothing was written" in err
    assert "nothing was written" in main()[2], "no terminal, no confirmation"
    monkeypatch.setattr(confirm, "is_dry_run", lambda *, dry_run, yes: dry_run)
    answers = iter(["\n", "n\n", "yes\n"])
    monkeypatch.setattr("sys.stdin.readline", lambda: next(answers), raising=False)
    for _ in range(2):
        status, _, err = main()
        assert status == 1 and "Write new versions of 1 request? [y/N]" in err
        assert [row["version"] for row in account_rows.rows()] == [2] and not account_rows.rows("repricings")
    assert main()[0] == 0
    assert [row["version"] for row in account_rows.rows()] == [3]


def test_filters_and_pages_reach_exactly_the_requests_that_are_meant(
    account_rows: AccountRows, main: Main, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "PAGE", 3)
    same = [account_rows.priced() for _ in range(8)]  # in the same microsecond
    spread = [account_rows.priced(at=AT + timedelta(hours=5 * n)) for n in range(5)]
    other = account_rows.priced(OWN)
    outside = account_rows.priced(at=datetime(2026, 11, 6, tzinfo=UTC))
    account_rows.store(*same, *spread, other, outside)

    def changed() -> int:
        return sum(row["version"] > 2 for row in account_rows.rows())

    assert "Nothing would change" in main("--yes", "--model", "gpt_4o*")[2], "_ is no wildcard"
    assert "Nothing would change" in main("--yes", "--provider", "mistral")[2]
    main("--yes", "--model", "house-*")
    assert changed() == 1
    main("--yes", "--model", "gpt-4o*", "--provider", "openai")
    assert changed() == 14 and len(account_rows.rows()) == 15


def test_reader_user_cannot_reprice(
    main: Main, account_rows: AccountRows, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with servers.clickhouse_server(tmp_path / "clickhouse") as server:
        asyncio.run(servers.apply_schema(server.url()))
        account_rows.server = server
        account_rows.store(account_rows.priced())
        monkeypatch.setenv("METRION_CLICKHOUSE_URL", server.url("reader"))
        monkeypatch.setenv("METRION_CLICKHOUSE_ADMIN_URL", server.url("reader"))
        status, _, err = main("--yes")
        assert status == 2 and "denied" in err and err.count("\n") == 1
        assert [row["version"] for row in account_rows.rows()] == [2]


def test_interrupted_run_is_recorded_and_the_next_run_completes_it(
    account_rows: AccountRows, main: Main, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "PAGE", 2)
    account_rows.store(*(account_rows.priced(at=AT + timedelta(hours=n)) for n in range(6)))
    newer, count = history._newer, 0

    def cut(*arguments: Any) -> dict[str, Any]:
        nonlocal count
        count += 1
        if count > 4:
            raise KeyboardInterrupt
        return newer(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(history, "_newer", cut)
        assert main("--yes")[0] == 130
    assert [row["finished"] for row in account_rows.rows("repricings")] == [0]
    assert main("--yes")[0] == 0
    assert {(row["version"], row["cost"]) for row in account_rows.rows()} == {(3, Decimal("0.002"))}
    assert [row["changed"] for row in account_rows.rows("repricings")] == [0, 2]
