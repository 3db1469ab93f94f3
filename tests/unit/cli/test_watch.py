"""--watch: a table is printed again and again, until it is interrupted or nobody reads it."""

import io
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from services.cli import clickhouse, main

FIGURES: dict[str, Any] = {"requests": 1, "errors": 0, "input_sum": 1, "output_sum": 1, "cost_sum": None, "unpriced": 1}
TOTAL = FIGURES | {"groups": 1, "estimated_cost": None, "equivalent_sum": None}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, list[float]]]:
    """Run `report` with more options, interrupted in its third pause; returns the status and the pauses."""
    pauses: list[float] = []
    passes = iter(range(1, 100))

    async def query(*_: object) -> list[list[dict[str, Any]]]:
        row = FIGURES | {"key": f"pass-{next(passes)}", "also_key": ""}
        return [[row], [TOTAL]]

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(clickhouse, "query", query)
    monkeypatch.setattr(time, "sleep", pause)
    return lambda *options: (main.main(["report", *options]), pauses)


def test_a_watched_report_reads_anew_each_time_until_it_is_interrupted(
    watched: Callable[..., tuple[int, list[float]]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert watched("--watch", "2.5") == (130, [2.5, 2.5, 2.5])
    text = capsys.readouterr().out
    assert [f"pass-{number}" in text for number in (1, 2, 3, 4)] == [True, True, True, False]
    assert "\x1b" not in text, "only a terminal is cleared"


def test_a_terminal_is_cleared_and_the_default_is_five_seconds(
    watched: Callable[..., tuple[int, list[float]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    assert watched("--watch") == (130, [5.0, 5.0, 5.0])
    assert terminal.getvalue().count("\x1b[H\x1b[2J") == 3


def test_a_report_without_watch_ends(watched: Callable[..., tuple[int, list[float]]]) -> None:
    assert watched() == (0, [])


@pytest.mark.parametrize("options", [("--watch", "0"), ("--watch", "5", "--json"), ("--watch", "5", "--csv")])
def test_watch_is_refused_where_it_makes_no_sense(
    watched: Callable[..., tuple[int, list[float]]], options: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert watched(*options) == (2, [])
    assert "--watch" in capsys.readouterr().err
