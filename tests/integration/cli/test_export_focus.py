"""`metrion export focus`: a month in FOCUS against the statement of the same month."""

import asyncio
import json
import uuid
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from services.cli import main as cli
from services.logger import insert
from services.logger.rows import ResponseRow
from shared import clickhouse as client_module
from shared import focus
from tests.support import focus as spec
from tests.support import sample_rows, servers
from tests.support.focus_rows import priced
from tests.support.priced_rows import MILLION

ZONES = ("UTC", "Pacific/Chatham", "America/Havana", "Europe/Zurich")  # in two of them a month has a day of 25 hours

Run = Callable[..., tuple[int, str, str]]
Database = servers.ClickHouseServer | servers.External


def put(url: str, *histories: Iterable[ResponseRow]) -> None:
    async def go() -> None:
        client = await client_module.connect(url, service="test")
        for history in histories:
            assert not await insert.insert(client, list(history))
        await client.close()

    asyncio.run(go())


@pytest.fixture(scope="module")
def account(database: Database) -> str:
    name = f"f{uuid.uuid4().hex[:12]}"
    put(database.url("logger"), sample_rows.generate(7, account=name, count=1500), priced(name))
    return name


@pytest.fixture
def run(clickhouse: Database, monkeypatch: pytest.MonkeyPatch, capfdbinary: Any) -> Run:
    monkeypatch.setenv("METRION_CLICKHOUSE_URL", clickhouse.url("reader"))
    monkeypatch.setenv("METRION_NATS_URL", "nats://admin:x@127.0.0.1:1")

    def call(*arguments: str) -> tuple[int, str, str]:
        status = cli.main(arguments)
        out, err = capfdbinary.readouterr()
        return status, out.decode(), err.decode()

    return call


def exported(run: Run, account: str, *arguments: str) -> list[spec.Row]:
    status, out, err = run("export", "focus", "--account", account, *arguments)
    assert status == 0, err
    return spec.read(out)


def statement(run: Run, account: str, month: str, zone: str) -> dict[str, Any]:
    status, out, err = run("statement", "--account", account, "--month", month, "--tz", zone, "--json")
    assert status == 0, err
    return dict(json.loads(out))


@pytest.mark.parametrize("month", ["2026-10", "2026-11"])
@pytest.mark.parametrize("zone", ZONES)
def test_costs_add_up_to_the_statement_in_each_zone(run: Run, account: str, zone: str, month: str) -> None:
    rows = exported(run, account, "--month", month, "--tz", zone)
    owed = statement(run, account, month, zone)
    assert len(rows) > 100
    assert spec.total(rows) == spec.total(rows, "EffectiveCost") == Decimal(owed["total"]["cost_usd"])
    for line in owed["by_model"]:
        model = f"{line['provider']}/{line['model']}"
        assert spec.total(rows, ResourceId=model) == Decimal(line["cost_usd"] or 0), line
    for line in owed["by_requester"]:
        guarded = f"'{line['requester']}" if line["requester"].startswith("=") else line["requester"]
        assert spec.total(rows, SubAccountId=guarded) == Decimal(line["cost_usd"] or 0), line
    for row in rows:
        spec.check(row)
    keys = [tuple(row[name] for name in row if "Cost" not in name and "Quantity" not in name) for row in rows]
    assert len(set(keys)) == len(keys)
    days = {row["ChargePeriodStart"] for row in rows}
    assert min(days) >= rows[0]["BillingPeriodStart"]
    assert max(row["ChargePeriodEnd"] for row in rows) <= rows[0]["BillingPeriodEnd"]
    if (zone, month) in (("America/Havana", "2026-11"), ("Europe/Zurich", "2026-10")):
        lengths = {_hours(row) for row in rows}
        assert lengths == {24.0, 25.0}


def _hours(row: spec.Row) -> float:
    start, end = (datetime.fromisoformat(row[name]) for name in ("ChargePeriodStart", "ChargePeriodEnd"))
    return (end - start).total_seconds() / 3600


def test_rows_state_tokens_and_prices_of_a_token(run: Run, account: str) -> None:
    rows = exported(run, account, "--month", "2026-11", "--tag", "project")
    mine = [row for row in rows if row["ChargePeriodStart"] == "2026-11-20T00:00:00Z"]
    found = {
        (row["x_Model"], row["SubAccountId"], row["x_TokenClass"], row["x_ServiceTier"], row["x_Billing"]): row
        for row in mine
    }
    assert len(found) == len(mine)
    mini = "gpt-4o-mini-2024-07-18"
    # two alike and one with cached tokens
    text = found[mini, "ann", "input", "", "metered"]
    assert (Decimal(text["PricingQuantity"]), text["PricingUnit"]) == (1000 + 1000 + 400, "Tokens")
    assert Decimal(text["ListUnitPrice"]) == Decimal(text["ContractedUnitPrice"]) == Decimal("0.15") / MILLION
    assert Decimal(text["BilledCost"]) == 2400 * Decimal("0.15") / MILLION
    assert text["ProviderName"] == "OpenAI" and text["Tags"] == '{"project":"apollo"}'
    assert text["SkuPriceId"] == f"openai/{mini}/input/standard"
    read = found[mini, "ann", "cache_read", "", "metered"]
    assert (Decimal(read["PricingQuantity"]), Decimal(read["ListUnitPrice"])) == (600, Decimal("0.075") / MILLION)
    out = found[mini, "ann", "output", "", "metered"]
    assert (Decimal(out["PricingQuantity"]), Decimal(out["ListUnitPrice"])) == (300, Decimal("0.6") / MILLION)
    # another tier has prices of its own
    dear = found[mini, "ann", "input", "priority", "metered"]
    assert Decimal(dear["ListUnitPrice"]) > Decimal(text["ListUnitPrice"])
    # what has no price is no usage, and its tokens are not lost
    for token_class, quantity in (("input", 70), ("output", 7)):
        unknown = found["nobody-prices-this", "ann", token_class, "", "metered"]
        assert (unknown["ChargeCategory"], unknown["PricingQuantity"], unknown["ListUnitPrice"]) == (
            "Adjustment",
            "",
            "",
        )
        assert (Decimal(unknown["x_Quantity"]), unknown["x_UnknownCostReason"]) == (quantity, "unknown_model")
    # a subscription's tokens cost nothing, at list prices something
    covered = found[mini, "ann", "input", "", "subscription"]
    assert Decimal(covered["BilledCost"]) == Decimal(covered["ContractedCost"]) == 0
    assert Decimal(covered["ListCost"]) == 1000 * Decimal("0.15") / MILLION
    # a formula is defused, a batch is a tier
    assert (mini, "'=HYPERLINK(1)", "input", "batch", "metered") in found
    # nothing was used of what came from the cache
    assert (
        sum(Decimal(row["x_Quantity"]) for row in mine if row["x_Model"] == mini and row["x_TokenClass"] == "output")
        == 600
    )


def test_a_month_adds_up_to_what_the_provider_reported_once_that_is_saved(
    run: Run, clickhouse: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METRION_CLICKHOUSE_ADMIN_URL", clickhouse.url("admin"))
    accounts = [f"r{uuid.uuid4().hex[:12]}" for _ in range(2)]
    made = [(0, 10, "2.25"), (1, 10, "0.75"), (0, 11, "1.25"), (1, 12, "0.5")]
    put(clickhouse.url("logger"), [_charged(accounts[who], day, cost) for who, day, cost in made])
    reported = {10: "3.5", 11: "1", 12: "0.5", 28: "2.000000000001"}

    def reconcile(costs: dict[int, str], *arguments: str) -> tuple[int, str, str]:
        report = tmp_path / "costs.json"
        report.write_text(json.dumps(_costs(costs)))
        return run("reconcile", "--provider", "openai", str(report), *arguments)

    status, _, err = reconcile(reported | {10: "99"}, "--save")
    assert status == 1 and "Saved the costs of 4 days, 2026-02-10 to 2026-02-28." in err, err
    assert "Saved the costs of 1 day, " in reconcile({10: reported[10]}, "--save")[2]  # in place of the first

    status, out, err = run("export", "focus", "--month", "2026-02")
    assert status == 0, err
    rows = spec.read(out)
    for row in rows:
        spec.check(row)
    for day, cost in reported.items():
        assert spec.total(rows, ChargePeriodStart=f"2026-02-{day}T00:00:00Z") == Decimal(cost)
    added = {row["ChargePeriodStart"][8:10]: row for row in rows if row["BillingAccountId"] == "(unattributed)"}
    assert {day: Decimal(row["BilledCost"]) for day, row in added.items()} == {
        "10": Decimal("0.5"), "11": Decimal("-0.25"), "28": Decimal("2.000000000001"),
    }  # fmt: skip
    assert {row["ProviderName"] for row in added.values()} == {"OpenAI"}
    # requests and their accounts cost what the statement says, report or not
    of_accounts = [row for row in rows if row["BillingAccountId"] in accounts]
    assert spec.total(of_accounts) == Decimal("4.75")
    for name in accounts:
        assert spec.total(exported(run, name, "--month", "2026-02")) == spec.total(rows, BillingAccountId=name)
    # days of a provider are in UTC: each is in one month of any zone, and within it
    months = [
        spec.read(run("export", "focus", "--month", m, "--tz", "Asia/Kathmandu")[1]) for m in ("2026-02", "2026-03")
    ]
    found = [row for month in months for row in month if row["BillingAccountId"] == "(unattributed)"]
    for row in found:
        spec.check(row)
    assert sorted(Decimal(row["BilledCost"]) for row in found) == sorted(
        Decimal(row["BilledCost"]) for row in added.values()
    )

    for costs, arguments, said in (
        (reported, ("--account", accounts[0]), "leave out --account"),
        ({}, (), "states no costs"),
    ):
        status, out, err = reconcile(costs, "--save", *arguments)
        assert (status, out) == (1, "") and said in err, err


def _charged(account: str, day: int, cost: str) -> ResponseRow:
    (row, *_) = priced(account)
    at = datetime(2026, 2, day, 23, 59, tzinfo=UTC)
    return msgspec.structs.replace(row, id=str(uuid.uuid4()), started_at=at, cost=Decimal(cost))


def _costs(costs: dict[int, str]) -> dict[str, Any]:
    def bucket(day: int, results: list[dict[str, Any]]) -> dict[str, Any]:
        start = int(datetime(2026, 2, day, tzinfo=UTC).timestamp())
        return {"object": "bucket", "start_time": start, "end_time": start + 86400, "results": results}

    def result(cost: str) -> dict[str, Any]:
        return {"object": "organization.costs.result", "amount": {"value": cost, "currency": "usd"}}

    days = [bucket(day, [result(cost)]) for day, cost in costs.items()] or [bucket(1, [])]
    return {"object": "page", "data": days, "has_more": False}


def test_metadata_of_many_values_becomes_a_tag_only_if_named(
    run: Run, account: str, clickhouse: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(focus, "MOST_VALUES", 2)
    monkeypatch.setattr(focus, "MOST_TAGS", 1)
    status, out, err = run("export", "focus", "--account", account, "--month", "2026-11")
    assert status == 0
    (chosen,) = {name for row in spec.read(out) if row["Tags"] for name in json.loads(row["Tags"])}
    assert err.startswith(f"Tags: {chosen}. Left out, because of too many values or keys (see --tag): ")
    omitted = err.split("): ")[1].split(". ")[0].rstrip(".\n").split(", ")
    assert {chosen, *omitted} == {"env", "n", "project"}
    tags = {row["Tags"] for row in exported(run, account, "--month", "2026-11", "--tag", "n", "--tag", "project")}
    assert '{"n":"1","project":"apollo"}' in tags


def test_parquet_has_the_same_rows_and_version_1_3_names_the_host(
    run: Run, account: str, clickhouse: Database, tmp_path: Path
) -> None:
    path = tmp_path / "month.parquet"
    common = ("--month", "2026-11", "--version", "1.3")
    arguments = ("export", "focus", "--account", account, "--format", "parquet", "--output", str(path), *common)
    status, out, _ = run(*arguments)
    assert (status, out) == (0, "")
    rows = exported(run, account, *common)
    assert {row["HostProviderName"] for row in rows} == {row["ServiceProviderName"] for row in rows}
    assert list(rows[0]) == list(focus.columns("1.3"))

    async def stored() -> Any:
        client = await client_module.connect(clickhouse.url("logger"), service="test")
        table = f"metrion.focus_{uuid.uuid4().hex}"
        await client.command(
            f"CREATE TABLE {table} (BilledCost Decimal(38, 12), ChargePeriodStart DateTime('UTC'), SubAccountId String,"
            " PricingQuantity Nullable(Decimal(38, 3)), Tags Nullable(String)) ENGINE = Memory"
        )
        try:
            await client.raw_insert(table, insert_block=path.read_bytes(), fmt="Parquet")
            found = await client.query(
                f"SELECT count(), sum(BilledCost), sum(PricingQuantity), uniqExact(ChargePeriodStart), max(SubAccountId = '=eve')"
                f" FROM {table}"
            )
            return found.result_rows[0]
        finally:
            await client.command(f"DROP TABLE {table}")
            await client.close()

    count, cost, quantity, days, has_formula = asyncio.run(stored())
    assert (count, cost, days) == (len(rows), spec.total(rows), len({row["ChargePeriodStart"] for row in rows}))
    assert quantity == sum(Decimal(row["PricingQuantity"] or 0) for row in rows)
    assert has_formula  # nobody opens Parquet in a spreadsheet: names are as they were sent


def test_export_that_fails_halfway_leaves_no_file(
    run: Run, account: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ", ".join(f"toString(number) AS {name}" for name in focus.columns("1.2")[1:])
    broken = f"SELECT throwIf(number = 15000) AS AvailabilityZone, {names} FROM numbers(20000) SETTINGS max_block_size = 1000"
    text = client_module.text
    monkeypatch.setattr(client_module, "text", lambda name: broken if name == "focus" else text(name))
    target = tmp_path / "month.csv"
    status, out, err = run("export", "focus", "--account", account, "--month", "2026-11", "--output", str(target))
    assert (status, out) == (2, ""), err
    assert err.startswith("metrion: ClickHouse at ") and len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_bad_arguments_are_named(run: Run, account: str, tmp_path: Path) -> None:
    for arguments, said in (
        (("--month", "2026-13"), "invalid month"),
        (("--month", "2026-11", "--tz", "Moon/Crater"), "Moon/Crater"),
        (("--month", "2026-11", "--output", str(tmp_path / "no" / "x.csv")), "cannot write"),
        (("--month", "2026-11", "--version", "9"), "'9' is not one of"),
    ):
        status, out, err = run("export", "focus", "--account", account, *arguments)
        assert status in (1, 2) and out == "" and said in err, err
