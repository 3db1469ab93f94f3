"""`metrion prices show`: the price that a person is shown is the one that rows are priced by, with where it stands."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from services.cli.main import main
from shared.pricing import hand_cases


@pytest.fixture(autouse=True)
def _without_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("METRION_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("METRION_PRICES_FILE", raising=False)


def show(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> list[dict[str, Any]]:
    assert main(["prices", "show", "--json", *arguments]) == status
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["prices"]
    return found


def one(rows: list[dict[str, Any]], **wanted: Any) -> dict[str, Any]:
    (found,) = [row for row in rows if wanted.items() <= row.items()]
    return found


def test_every_unit_tier_and_threshold_has_its_price_and_source(capsys: pytest.CaptureFixture[str]) -> None:
    rows = show(capsys, "--model", "gpt-6.1-terra-2026-10-26")
    assert {row["provider"] for row in rows} == {"openai"}
    assert one(rows, tier="standard", unit="input_mtok", above=0)["price"] == "1"
    assert one(rows, tier="standard", unit="input_mtok", above=272000)["price"] == "2"
    assert one(rows, tier="flex", unit="output_mtok", above=0)["price"] == "2.5"
    assert one(rows, tier="batch", unit="output_mtok", above=0)["price"] == "2.5"
    assert one(rows, unit="cache_write_12h_mtok", above=272000)["price"] is None
    assert "12 h" in one(rows, unit="cache_write_12h_mtok", above=0)["source"]
    assert one(rows, tier="standard", unit="input_mtok", above=0)["source"].startswith("genai-prices ")
    assert one(rows, tier="*")["price"] == "1.1"


def test_prices_follow_the_given_day(capsys: pytest.CaptureFixture[str]) -> None:
    sonnet = ("--provider", "anthropic", "--model", "claude-sonnet-5-5")
    for day, price in (("2026-10-06", "0.2"), ("2026-10-07", "0.1")):
        rows = show(capsys, *sonnet, "--at", day)
        assert one(rows, tier="standard", unit="cache_read_mtok")["price"] == price
    rows = show(capsys, "--provider", "mistral", "--model", "mistral-large-latest")
    assert one(rows, tier="standard", unit="input_mtok")["source"].endswith("mistral-large-2512")


def test_model_without_a_price_is_reported_with_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert show(capsys, "--model", "claude-opus-4-80", status=1) == []
    assert main(["prices", "show", "--model", "claude-opus-4-80"]) == 1
    assert "unknown cost" in capsys.readouterr().err
    (disputed,) = show(capsys, "--model", "grok-code-fast-1")
    assert (disputed["price"], disputed["unit"]) == (None, "*")


def test_without_a_model_every_one_of_a_provider_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    rows = show(capsys, "--provider", "xai")
    assert {row["provider"] for row in rows} == {"grok"}
    assert {"grok-4.7", "grok-3-mini"} <= {row["model"] for row in rows}
    everything = show(capsys)
    assert {"anthropic", "openai", "gemini", "mistral", "grok"} == {row["provider"] for row in everything}


def test_an_operators_file_shows_too_and_a_broken_one_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own = tmp_path / "prices.toml"
    own.write_text(
        '[[price]]\nprovider = "vllm"\nmodel = "llama"\nunit = "input_mtok"\nprice = "0.05"\nsource = "our power bill"\n'
        '[[price]]\nprovider = "openai"\nmodel = "gpt-4o"\nunit = "input_mtok"\ntier = "flex"\nprice = "1"\nsource = "contract"\n'
    )
    monkeypatch.setenv("METRION_PRICES_FILE", str(own))
    (row,) = show(capsys, "--provider", "vllm")
    assert (row["model"], row["price"], row["source"]) == ("llama", "0.05", "our power bill")
    assert one(show(capsys, "--model", "gpt-4o"), tier="flex", unit="input_mtok")["source"] == "contract"
    own.write_text('[[alias]]\nprovider = "azure"\nmodel = "prod"\nmeans = "gpt-4o"\nsource = "our deployment"\n')
    assert one(show(capsys, "--provider", "azure"), tier="standard", unit="input_mtok")["price"] == "2.5"
    own.write_text("[[price]]\nprovider = 1\n")
    assert main(["prices", "show"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_a_table_for_people_names_version_and_day(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prices", "show", "--model", "gpt-4o", "--at", "2026-11-01"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("2026-11-01, price version ")
    assert "input_mtok" in text and "storage_searches_kcount" in text


@pytest.mark.parametrize("model", sorted({(case.provider, case.model) for case in hand_cases.load()}), ids=str)
def test_show_lists_the_prices_of_a_model(capsys: pytest.CaptureFixture[str], model: tuple[str, str]) -> None:
    rows = show(capsys, "--provider", model[0], "--model", model[1])
    assert any(row["tier"] == "standard" and Decimal(row["price"]) > 0 for row in rows)
