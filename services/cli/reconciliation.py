"""Compares a provider's reports with the recorded requests, by day and model."""

from collections.abc import Callable, Iterable
from datetime import date
from decimal import Decimal
from typing import Any

import msgspec

from services.cli.provider_reports import ALL, Counted, Report

TOKENS = ("input_tokens", "output_tokens")
MEASURES = (*TOKENS, "cost")
ZERO = Decimal(0)

Key = tuple[date, str]


class Line(msgspec.Struct, kw_only=True):
    """Figures of a day and model: reported by the provider (there), recorded (here)."""

    there: dict[str, Any] = {}
    here: dict[str, Any] = {}
    requests: int = 0
    unpriced: int = 0

    def difference(self, measure: str) -> Any:
        """Return there minus here; None if not reported."""
        return None if measure not in self.there else self.there[measure] - self.here.get(measure, 0)


def compare(report: Report, rows: Iterable[dict[str, Any]]) -> dict[Key, Line]:
    """Compare by day and model; measures without models get their own line."""
    lines: dict[Key, Line] = {}
    whole = {measure for measure in MEASURES if _measured(report.lines, measure, lambda line: line.model == ALL)}
    known = {measure for measure in MEASURES if _measured(report.lines, measure, lambda _: True)}
    for reported in report.lines:
        for measure in MEASURES:
            amount = getattr(reported, measure)
            if amount is not None:
                line = lines.setdefault((reported.day, ALL if measure in whole else reported.model), Line())
                line.there[measure] = line.there.get(measure, 0) + amount
    for row in rows:
        figures = {
            "input_tokens": row["input_tokens"],
            "output_tokens": row["output_tokens"],
            "cost": row["cost_usd"] or ZERO,
        }
        counted = lines.setdefault((row["day"], row["model"] if known - whole else ALL), Line())
        counted.requests += row["requests"]
        counted.unpriced += row["unpriced"]
        for measure in known:
            line = lines.setdefault((row["day"], ALL if measure in whole else row["model"]), Line())
            line.here[measure] = line.here.get(measure, 0) + figures[measure]
            line.there.setdefault(measure, 0)
    return lines


def summed(lines: Iterable[Line]) -> Line:
    """Sum lines; a measure that is never reported is missing in the sum."""
    total = Line()
    for line in lines:
        total.requests += line.requests
        total.unpriced += line.unpriced
        for mine, its in ((total.there, line.there), (total.here, line.here)):
            for measure, amount in its.items():
                mine[measure] = mine.get(measure, 0) + amount
    return total


def bypassed(lines: Iterable[Line]) -> Decimal | None:
    """Return the percentage of tokens that bypassed Metrion; None without tokens."""
    there = missing = 0
    for line in lines:
        for measure in TOKENS:
            there += line.there.get(measure, 0)
            missing += max(line.difference(measure) or 0, 0)
    return round(Decimal(100 * missing) / there, 2) if there else None


def _measured(lines: Iterable[Counted], measure: str, chosen: Callable[[Counted], bool]) -> bool:
    return any(getattr(line, measure) is not None and chosen(line) for line in lines)


def by_model(lines: dict[Key, Line]) -> dict[str, Line]:
    """Sum lines by model."""
    names = sorted({model for _, model in lines})
    return {label(name): summed(line for (_, model), line in lines.items() if model == name) for name in names}


def exceeds(line: Line, measures: tuple[str, ...], tolerance: Decimal) -> bool:
    """Whether a measure differs by more percent of the larger side than allowed."""
    for measure in measures:
        if measure not in line.there:
            continue
        there = line.there[measure]
        here = line.here.get(measure, 0)
        if abs(there - here) * 100 > tolerance * max(abs(there), abs(here)):
            return True
    return False


def label(model: str) -> str:
    """Return the displayed name of a model."""
    return model or "(all models)"
