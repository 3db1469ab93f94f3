"""`metrion reconcile`: the rows of a real ClickHouse against made-up reports of the providers."""

import asyncio
import csv
import io
import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from services.cli import main as cli
from services.logger import insert
from services.logger.rows import ResponseRow
from shared import clickhouse as client_module
from shared.pricing import cost_columns
from tests.support import paths, servers

RECORDINGS = paths.RECORDINGS / "reconcile"
NIGHT = datetime(2026, 11, 3, 23, 59, 59, 999_999, tzinfo=UTC)  # still the 3rd in UTC, the 4th in Kathmandu
GPT, MINI, SONNET = "gpt-4o-2024-08-06", "gpt-4o-mini-2024-07-18", "claude-sonnet-4-5-20250929"

Reconcile = Callable[..., tuple[int, str, str]]


def row(
    account: str, model: str, tokens: tuple[int, int], cost: str | None, *, days: int = 0, **changes: Any
) -> ResponseRow:
    given = ResponseRow(
        id=str(uuid.uuid4()), account=account, token="ci", requester="ann", metadata={},
        provider="anthropic" if model == SONNET else "openai", dialect="openai_chat", endpoint="POST /v1/chat/completions",
        model_requested="alias", model=model, stream=False, started_at=NIGHT + timedelta(days=days), gateway="g", status=200,
        outcome="complete", input_tokens=tokens[0], output_tokens=tokens[1], usage_source="reported",
        cost=None if cost is None else Decimal(cost), cost_source="computed", version=2, spool="s", epoch=1, sequence=0,
    )  # fmt: skip
    return msgspec.structs.replace(given, **changes)


@pytest.fixture
def account(database: servers.ClickHouseServer | servers.External) -> str:
    """An account whose requests are in the reports, but for a batch; and rows that no provider ever saw."""
    name = f"c{uuid.uuid4().hex[:12]}"
    recorded = [
        *(row(name, GPT, (1000, 100), "0.0035") for _ in range(3)),
        row(name, MINI, (500, 50), None, cost_reason="unknown_model"),
        row(name, GPT, (1000, 100), "0.0035", days=1),
        row(name, GPT, (9999, 999), "0", cache="HIT", cost_saved=Decimal(1)),
        row(name, "", (0, 0), "0", status=429, cost_reason=cost_columns.REFUSED, input_tokens=None, output_tokens=None),
        row(name, GPT, (7777, 777), "7", days=2),
        row(name, SONNET, (2000, 400), "0.0181"),
        row(name, SONNET, (9999, 999), "0", billing="subscription", cost_equivalent=Decimal(1)),  # on no API invoice
    ]

    put(database.url("logger"), recorded)
    return name


def put(url: str, recorded: list[ResponseRow]) -> None:
    async def go() -> None:
        client = await client_module.connect(url, service="test")
        assert not await insert.insert(client, recorded)
        await client.close()

    asyncio.run(go())


@pytest.fixture
def reconcile(
    clickhouse: servers.ClickHouseServer | servers.External,
    account: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Reconcile:
    monkeypatch.setenv("METRION_CLICKHOUSE_URL", clickhouse.url("reader"))

    def run(provider: str, *arguments: str) -> tuple[int, str, str]:
        files = [str(RECORDINGS / one) if one.endswith(".json") and "/" not in one else one for one in arguments]
        status = cli.main(["reconcile", "--provider", provider, "--account", account, *files])
        out, err = capsys.readouterr()
        return status, out, err

    return run


def test_reconcile_reports_bypassed_and_unpriced_usage(reconcile: Reconcile) -> None:
    status, out, err = reconcile("openai", "openai_usage.json", "openai_costs.json", "--json")
    output = json.loads(out)
    rows = {(line["day"], line["model"]): line for line in output["rows"]}
    gpt = rows["2026-11-03", GPT]
    assert (gpt["input_there"], gpt["input_here"], gpt["input_difference"]) == (3000, 3000, 0)
    assert (gpt["USD_there"], gpt["USD_here"], gpt["USD_difference"]) == ("0.00925", "0.0105", "-0.00125")
    assert gpt["requests_here"] == 3, "no cache hit"
    mini = rows["2026-11-03", MINI]
    assert (mini["unpriced"], mini["USD_here"], mini["USD_difference"]) == (1, "0", "0.000105")
    batch = rows["2026-11-04", f"{GPT} (batch)"]
    assert (batch["input_there"], batch["input_here"], batch["requests_here"]) == (8000, None, 0)
    assert rows["2026-11-03", "web search tool calls"]["USD_difference"] == "0.01"
    assert not [key for key in rows if key[0] == "2026-11-05"], "the reports do not speak of that day"
    total = output["total"]
    assert (total["input_there"], total["input_here"], total["USD_there"], total["USD_here"]) == (
        12500,
        4500,
        "0.022855",
        "0.014",
    )
    assert output["bypassed_percent"] == "64"  # 8,800 of 13,750 tokens
    assert status == 1 and output["beyond_tolerance"] == [f"{GPT} (batch)", "the total"]
    assert (
        "64 % of the provider's tokens bypassed Metrion" in err and "1 recorded request (20 %) has unknown cost" in err
    )


def test_a_batch_that_was_billed_here_is_found_under_the_providers_name_for_it(
    reconcile: Reconcile, account: str, clickhouse: servers.ClickHouseServer | servers.External
) -> None:
    put(clickhouse.url("logger"), [row(account, GPT, (8000, 800), "0.014", days=1, endpoint="BATCH batch_1")])
    _, out, _ = reconcile("openai", "openai_usage.json", "--json")
    output = json.loads(out)
    (batch,) = (line for line in output["rows"] if line["model"] == f"{GPT} (batch)")
    assert (batch["input_difference"], batch["output_difference"]) == (0, 0)
    assert output["bypassed_percent"] == "0" and output["beyond_tolerance"] == []


def test_reconcile_succeeds_within_the_tolerance_only(reconcile: Reconcile, tmp_path: Path) -> None:
    assert reconcile("anthropic", "anthropic_usage.json", "anthropic_costs.json")[0] == 0
    page = json.loads((RECORDINGS / "anthropic_usage.json").read_text())
    page["data"][0]["results"][0]["output_tokens"] = 404  # here: 400
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(page))
    assert reconcile("anthropic", str(changed))[0] == 0, "within one per cent"
    status, _, err = reconcile("anthropic", str(changed), "--tolerance", "0.9")
    assert status == 1 and f"Beyond the tolerance of 0.9 %: {SONNET}" in err


def test_costs_by_day_alone_are_compared_by_day(reconcile: Reconcile) -> None:
    status, out, err = reconcile("openai", "openai_costs_by_day.json", "--csv")
    assert out.startswith("\ufeff"), "spreadsheets take it for UTF-8"
    first, second = csv.DictReader(io.StringIO(out.removeprefix("\ufeff")))
    assert (first["day"], first["model"], first["USD there"], first["USD here"]) == (
        "2026-11-03", "(all models)", "0.019355", "0.0105",
    )  # fmt: skip
    assert (second["USD there"], second["USD here"], second["USD difference"]) == ("0.0035", "0.0035", "0")
    assert first["requests here"] == "4" and status == 1
    assert "A file is incomplete" in err, "a report that was cut off is no proof"


def test_usage_by_model_and_costs_by_day_stand_side_by_side(reconcile: Reconcile) -> None:
    _, out, _ = reconcile("openai", "openai_usage.json", "openai_costs_by_day.json", "--json")
    rows = {(line["day"], line["model"]): line for line in json.loads(out)["rows"]}
    assert rows["2026-11-03", GPT]["USD_there"] is None and rows["2026-11-03", GPT]["input_there"] == 3000
    assert rows["2026-11-03", None]["USD_here"] == "0.0105" and rows["2026-11-03", None]["input_there"] is None
    assert sum(line["requests_here"] for line in rows.values()) == 5, "no request is counted twice"


def test_a_file_that_is_not_a_provider_report_is_a_one_line_error(reconcile: Reconcile, tmp_path: Path) -> None:
    for name in (str(tmp_path / "absent.json"), str(tmp_path)):
        status, out, err = reconcile("openai", name)
        assert (status, out, err.count("\n")) == (1, "", 1) and name in err
    status, _, err = reconcile("anthropic", "openai_usage.json")
    assert status == 1 and "not a usage or cost report of anthropic" in err
